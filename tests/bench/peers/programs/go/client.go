package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

func drain(stream io.Reader, counter *atomic.Int64) (int64, error) {
	buffer := make([]byte, 64<<10)
	total := int64(0)
	for {
		n, err := stream.Read(buffer)
		total += int64(n)
		if counter != nil {
			counter.Add(int64(n))
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func send(stream io.Writer, left uint64, until time.Time, counter *atomic.Int64) error {
	for left > 0 && (until.IsZero() || time.Now().Before(until)) {
		n, err := stream.Write(chunk[:min(left, uint64(len(chunk)))])
		left -= uint64(n)
		if counter != nil {
			counter.Add(int64(n))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

type client struct {
	transport *quic.Transport
	server    *net.UDPAddr
	tls       *tls.Config
	early     bool
}

func newClient() (*client, error) {
	pem, err := os.ReadFile(given["ca"])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", given["ca"])
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: []string{"perf"}}
	if mode := given["mode"]; mode == "resumed" || mode == "early" {
		config.ClientSessionCache = tls.NewLRUClientSessionCache(64)
	}
	server := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: int(number("port"))}
	return &client{&quic.Transport{Conn: socket}, server, config, given["mode"] == "early"}, nil
}

func (c *client) connect() (*quic.Conn, error) {
	if c.early {
		return c.transport.DialEarly(context.Background(), c.server, c.tls, config())
	}
	return c.transport.Dial(context.Background(), c.server, c.tls, config())
}

func request(connection *quic.Conn, upload int, download uint64) (int64, error) {
	stream, err := connection.OpenStreamSync(context.Background())
	if err != nil {
		return 0, err
	}
	message := binary.BigEndian.AppendUint64(make([]byte, 0, 8+upload), download)
	if _, err := stream.Write(message[:8+upload]); err != nil {
		return 0, err
	}
	stream.Close()
	return drain(stream, nil)
}

func work() error {
	if given["case"] == "h3" {
		return h3()
	}
	c, err := newClient()
	if err != nil {
		return err
	}
	switch given["case"] {
	case "bulk":
		return c.bulk()
	case "requests":
		return c.requests(1)
	case "scale":
		return c.requests(int(number("connections")))
	case "handshakes":
		return c.handshakes()
	case "pingpong":
		return c.pingpong()
	case "idle":
		return c.idle()
	case "streams":
		return c.streams()
	}
	return fmt.Errorf("there is no case %q", given["case"])
}

func (c *client) bulk() error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	upload := given["direction"] == "up"
	report("ready", nil)
	end := time.Now().Add(seconds(number("warmup") + number("seconds")))
	var counter atomic.Int64
	var wait sync.WaitGroup
	for range int(number("streams")) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			stream, err := connection.OpenStreamSync(context.Background())
			fail(err)
			count := endless
			if upload {
				count = 0
			}
			_, err = stream.Write(binary.BigEndian.AppendUint64(nil, count))
			fail(err)
			if upload {
				fail(send(stream, endless, end, &counter))
			} else {
				stream.SetReadDeadline(end)
			}
			stream.Close()
			if upload {
				_, err = drain(stream, nil)
				fail(err)
			} else {
				drain(stream, &counter)
			}
		}()
	}
	time.Sleep(seconds(number("warmup")))
	warm, warmAt := counter.Load(), time.Now()
	wait.Wait()
	total := counter.Load()
	report("result", map[string]any{"bytes": total - warm, "seconds": time.Since(warmAt).Seconds(), "totalBytes": total})
	return nil
}

func (c *client) connectMany(count int) ([]*quic.Conn, error) {
	connections := []*quic.Conn{}
	for len(connections) < count {
		connection, err := c.connect()
		if err != nil {
			return nil, err
		}
		connections = append(connections, connection)
	}
	return connections, nil
}

func (c *client) requests(count int) error {
	connections, err := c.connectMany(count)
	if err != nil {
		return err
	}
	for _, connection := range connections {
		if _, err := request(connection, messageBytes-8, messageBytes); err != nil {
			return err
		}
	}
	report("ready", nil)
	started := time.Now()
	end := started.Add(seconds(number("seconds")))
	var done, next atomic.Int64
	var wait sync.WaitGroup
	for range int(number("concurrency")) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for time.Now().Before(end) {
				connection := connections[int(next.Add(1))%len(connections)]
				_, err := request(connection, messageBytes-8, messageBytes)
				fail(err)
				done.Add(1)
			}
		}()
	}
	wait.Wait()
	report("result", map[string]any{"count": done.Load(), "seconds": time.Since(started).Seconds()})
	return nil
}

// handshakes connects, has one byte answered and closes; in mode "early" the request goes with the first flight.
func (c *client) handshakes() error {
	first, err := c.connect()
	if err != nil {
		return err
	}
	if _, err := request(first, 0, 1); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond)
	first.CloseWithError(0, "")
	report("ready", nil)
	started := time.Now()
	end := started.Add(seconds(number("seconds")))
	var lock sync.Mutex
	var wait sync.WaitGroup
	connected, answered := []float64{}, []float64{}
	resumed, early := 0, 0
	for range int(number("concurrency")) {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for time.Now().Before(end) {
				began := time.Now()
				connection, err := c.connect()
				fail(err)
				connectedIn := time.Since(began)
				_, err = request(connection, 0, 1)
				fail(err)
				answeredIn := time.Since(began)
				<-connection.HandshakeComplete()
				state := connection.ConnectionState()
				lock.Lock()
				connected, answered = append(connected, micros(connectedIn)), append(answered, micros(answeredIn))
				if state.TLS.DidResume {
					resumed++
				}
				if state.Used0RTT {
					early++
				}
				lock.Unlock()
				connection.CloseWithError(0, "")
			}
		}()
	}
	wait.Wait()
	report("result", map[string]any{
		"count": len(answered), "seconds": time.Since(started).Seconds(), "resumed": resumed, "early": early,
		"connectedP50Us": percentile(connected, 0.5), "answeredP50Us": percentile(answered, 0.5),
	})
	return nil
}

func (c *client) pingpong() error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	stream, err := connection.OpenStreamSync(context.Background())
	if err != nil {
		return err
	}
	if _, err := stream.Write([]byte{255, 255, 255, 255, 255, 255, 255, 255}); err != nil {
		return err
	}
	if given["load"] == "1" {
		go request(connection, 0, endless)
	}
	message := make([]byte, messageBytes)
	once := func() error {
		if _, err := stream.Write(message); err != nil {
			return err
		}
		_, err := io.ReadFull(stream, message)
		return err
	}
	for warm := time.Now().Add(seconds(number("warmup"))); time.Now().Before(warm); {
		if err := once(); err != nil {
			return err
		}
	}
	report("ready", nil)
	times := []float64{}
	for end := time.Now().Add(seconds(number("seconds"))); time.Now().Before(end); {
		began := time.Now()
		if err := once(); err != nil {
			return err
		}
		times = append(times, micros(time.Since(began)))
	}
	report("result", map[string]any{"count": len(times), "p50Us": percentile(times, 0.5), "p99Us": percentile(times, 0.99)})
	return nil
}

func steps() []int {
	out := []int{}
	for _, word := range strings.Split(given["steps"], ",") {
		var step int
		_, err := fmt.Sscan(word, &step)
		fail(err)
		out = append(out, step)
	}
	return out
}

// announce says that a step is reached, and waits until the runner has looked.
func announce(step int) {
	looked := make(chan os.Signal, 1)
	signal.Notify(looked, syscall.SIGUSR2)
	report(fmt.Sprintf("step%d", step), nil)
	<-looked
}

func (c *client) idle() error {
	open := []*quic.Conn{}
	for _, step := range steps() {
		for len(open) < step {
			connection, err := c.connect()
			if err != nil {
				return err
			}
			if _, err := request(connection, 0, 1); err != nil {
				return err
			}
			open = append(open, connection)
		}
		announce(step)
	}
	return nil
}

func (c *client) streams() error {
	connection, err := c.connect()
	if err != nil {
		return err
	}
	open := []*quic.Stream{}
	for _, step := range steps() {
		for len(open) < step {
			stream, err := connection.OpenStreamSync(context.Background())
			if err != nil {
				return err
			}
			if _, err := stream.Write([]byte{255, 255, 255, 255, 255, 255, 255, 255, 0}); err != nil {
				return err
			}
			if _, err := io.ReadFull(stream, make([]byte, 1)); err != nil {
				return err
			}
			open = append(open, stream)
		}
		announce(step)
	}
	return nil
}
