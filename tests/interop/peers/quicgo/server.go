package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

type seen struct {
	lock     sync.Mutex
	requests []map[string]any
}

type seenKey struct{}

func serve(s *spec) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(s.Host), Port: s.Port})
	if err != nil {
		fail("%v", err)
	}
	transport := &quic.Transport{Conn: socket, ConnectionIDLength: 8}
	transport.VerifySourceAddress = func(net.Addr) bool { return s.Retry }
	listener, err := transport.ListenEarly(http3.ConfigureTLSConfig(s.tlsConfig()), s.quicConfig())
	if err != nil {
		fail("%v", err)
	}
	server := &http3.Server{Handler: http.HandlerFunc(answer)}
	server.ConnContext = func(ctx context.Context, connection *quic.Conn) context.Context {
		record := &seen{}
		go func() {
			<-connection.Context().Done()
			facts := stateFacts(connection.ConnectionState())
			facts["closed"] = closedFacts(context.Cause(connection.Context()))
			record.lock.Lock()
			defer record.lock.Unlock()
			facts["requests"] = record.requests
			report("connection", facts)
		}()
		return context.WithValue(ctx, seenKey{}, record)
	}
	report("listening", map[string]any{"port": socket.LocalAddr().(*net.UDPAddr).Port})
	go server.ServeListener(listener)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	<-stop
	server.Close()
	listener.Close()
	time.Sleep(100 * time.Millisecond)
	transport.Close()
}

func closedFacts(err error) map[string]any {
	var application *quic.ApplicationError
	var transport *quic.TransportError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &application):
		return map[string]any{"code": uint64(application.ErrorCode), "reason": application.ErrorMessage}
	case errors.As(err, &transport):
		return map[string]any{"code": uint64(transport.ErrorCode), "frameType": transport.FrameType, "reason": transport.ErrorMessage}
	}
	return map[string]any{"code": nil, "reason": err.Error()}
}

func answer(w http.ResponseWriter, r *http.Request) {
	record := r.Context().Value(seenKey{}).(*seen)
	early := !r.TLS.HandshakeComplete
	var received int64
	defer func() {
		record.lock.Lock()
		defer record.lock.Unlock()
		record.requests = append(record.requests, map[string]any{"path": r.URL.Path, "early": early, "bytes": received})
	}()
	switch {
	case strings.HasPrefix(r.URL.Path, "/bytes/"):
		size, err := strconv.ParseInt(strings.Split(r.URL.Path, "/")[2], 10, 64)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("content-length", strconv.FormatInt(size, 10))
		w.Header().Set("x-served-by", "quic-go")
		io.CopyBuffer(w, &bodyReader{size: size}, make([]byte, 65536))
	case r.URL.Path == "/upload":
		sum := sha256.New()
		received, _ = io.Copy(sum, r.Body)
		w.Header().Set("content-type", "application/json")
		fmt.Fprintf(w, `{"bytes":%d,"sha256":"%s"}`, received, hex.EncodeToString(sum.Sum(nil)))
	case r.URL.Path == "/echo":
		w.WriteHeader(http.StatusOK)
		buffer := make([]byte, 16384)
		for {
			n, err := r.Body.Read(buffer)
			received += int64(n)
			w.Write(buffer[:n])
			w.(http.Flusher).Flush()
			if err != nil {
				return
			}
		}
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}
