package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go/http3"
)

// h3 loads an HTTP/3 server: `kind=requests|download|upload`, one connection.
func h3() error {
	pem, err := os.ReadFile(given["ca"])
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", given["ca"])
	}
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"},
		QUICConfig:      config(), DisableCompression: true,
	}
	client := &http.Client{Transport: transport}
	origin := fmt.Sprintf("https://127.0.0.1:%d", int(number("port")))
	exchange := func(ctx context.Context, method, path string, body io.Reader, counter *atomic.Int64) error {
		r, err := http.NewRequestWithContext(ctx, method, origin+path, body)
		if err != nil {
			return err
		}
		r.Host = "localhost"
		answer, err := client.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if answer.StatusCode != 200 {
			return fmt.Errorf("%s %s: status %d", method, path, answer.StatusCode)
		}
		_, err = drain(answer.Body, counter)
		return err
	}
	if err := exchange(context.Background(), "GET", "/small", nil, nil); err != nil {
		return err
	}
	report("ready", nil)
	started := time.Now()
	warmAt := started.Add(seconds(number("warmup")))
	end := warmAt.Add(seconds(number("seconds")))
	var counter, done atomic.Int64
	var wait sync.WaitGroup
	for range int(number("concurrency")) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			switch given["kind"] {
			case "requests":
				for time.Now().Before(end) {
					fail(exchange(context.Background(), "GET", "/small", nil, nil))
					done.Add(1)
				}
			case "download":
				ctx, cancel := context.WithDeadline(context.Background(), end)
				defer cancel()
				exchange(ctx, "GET", fmt.Sprintf("/bytes/%d", endless), nil, &counter)
			case "upload":
				fail(exchange(context.Background(), "POST", "/upload", &source{end: end, counter: &counter}, nil))
			}
		}()
	}
	time.Sleep(time.Until(warmAt))
	warm, warmDone, from := counter.Load(), done.Load(), time.Now()
	wait.Wait()
	report("result", map[string]any{
		"bytes": counter.Load() - warm, "count": done.Load() - warmDone, "seconds": time.Since(from).Seconds(),
		"totalBytes": counter.Load(), "totalCount": done.Load(),
	})
	return nil
}

// source yields bytes until its end.
type source struct {
	end     time.Time
	counter *atomic.Int64
}

func (s *source) Read(p []byte) (int, error) {
	if !time.Now().Before(s.end) {
		return 0, io.EOF
	}
	n := copy(p, chunk)
	s.counter.Add(int64(n))
	return n, nil
}
