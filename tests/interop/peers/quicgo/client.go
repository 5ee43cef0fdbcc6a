package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

func runClient(s *spec) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(s.TimeoutMs)*time.Millisecond)
	defer cancel()
	done := []map[string]any{}
	tlsConfig := s.tlsConfig()
	config := s.quicConfig()
	for _, p := range s.Connections {
		facts, err := oneConnection(ctx, s, p, tlsConfig, config)
		if err != nil {
			report("result", map[string]any{"ok": false, "error": err.Error(), "connections": done})
			return
		}
		done = append(done, facts)
	}
	report("result", map[string]any{"ok": true, "connections": done})
}

func openTransport(host string) (*quic.Transport, error) {
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)})
	if err != nil {
		return nil, err
	}
	return &quic.Transport{Conn: socket, ConnectionIDLength: 8}, nil
}

// storeOnly keeps tickets for later connections but offers none: a connection that must not resume.
type storeOnly struct{ tls.ClientSessionCache }

func (storeOnly) Get(string) (*tls.ClientSessionState, bool) { return nil, false }

func oneConnection(ctx context.Context, s *spec, p plan, tlsConfig *tls.Config, config *quic.Config) (map[string]any, error) {
	transport, err := openTransport(s.BindHost)
	if err != nil {
		return nil, err
	}
	defer transport.Close()
	if !p.Resume {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.ClientSessionCache = storeOnly{tlsConfig.ClientSessionCache}
	}
	began := time.Now()
	address := &net.UDPAddr{IP: net.ParseIP(s.Host), Port: s.Port}
	dial := transport.Dial
	if p.EarlyData {
		dial = transport.DialEarly
	}
	connection, err := dial(ctx, address, tlsConfig, config)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	defer func() {
		connection.CloseWithError(0x100, "")
		time.Sleep(20 * time.Millisecond)
	}()
	handshakeMs := time.Since(began).Seconds() * 1000
	h3 := &http3.Transport{DisableCompression: true}
	client := h3.NewClientConn(connection)
	mover := newMover(ctx, connection, s.BindHost, p.MigrateAfterBytes)
	responses := make([]map[string]any, len(p.Requests))
	problems := make([]error, len(p.Requests))
	var wait sync.WaitGroup
	for i, r := range p.Requests {
		wait.Add(1)
		go func() {
			defer wait.Done()
			responses[i], problems[i] = exchange(ctx, s, p, client, r, mover)
		}()
	}
	wait.Wait()
	for _, problem := range problems {
		if problem != nil {
			return nil, problem
		}
	}
	if err := mover.settle(); err != nil {
		return nil, err
	}
	select {
	case <-connection.HandshakeComplete():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// Session tickets come after the handshake: give them one round trip by one more small request.
	if _, err := exchange(ctx, s, plan{}, client, request{Method: "GET", Path: "/bytes/1"}, mover); err != nil {
		return nil, err
	}
	facts := stateFacts(connection.ConnectionState())
	facts["responses"] = responses
	facts["migrations"] = mover.count.Load()
	facts["handshakeMs"] = handshakeMs
	return facts, nil
}

func exchange(ctx context.Context, s *spec, p plan, client *http3.ClientConn, r request, mover *mover) (map[string]any, error) {
	method := r.Method
	if p.EarlyData && method == "GET" {
		method = http3.MethodGet0RTT
	}
	var payload io.Reader
	if len(r.Base64) > 0 {
		payload = bytes.NewReader(r.Base64)
	} else if r.Size > 0 {
		payload = &bodyReader{size: r.Size, onRead: mover.counted}
	}
	httpRequest, err := http.NewRequestWithContext(ctx, method, "https://"+s.ServerName+r.Path, payload)
	if err != nil {
		return nil, err
	}
	for _, header := range r.Headers {
		httpRequest.Header.Set(header[0], header[1])
	}
	response, err := client.RoundTrip(httpRequest)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.Path, err)
	}
	defer response.Body.Close()
	sum := sha256.New()
	head := []byte{}
	total := int64(0)
	buffer := make([]byte, 65536)
	for {
		n, err := response.Body.Read(buffer)
		sum.Write(buffer[:n])
		total += int64(n)
		if len(head)+n <= 4096 {
			head = append(head, buffer[:n]...)
		}
		mover.counted(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: body after %d bytes: %w", r.Method, r.Path, total, err)
		}
	}
	facts := map[string]any{
		"path": r.Path, "status": response.StatusCode, "bytes": total, "sha256": hex.EncodeToString(sum.Sum(nil)),
	}
	if total <= 4096 {
		facts["text"] = string(head)
	}
	return facts, nil
}

// mover switches the connection to a new socket once, after so many bytes of bodies.
type mover struct {
	ctx        context.Context
	connection *quic.Conn
	host       string
	left       atomic.Int64
	wanted     bool
	count      atomic.Int64
	done       chan error
}

func newMover(ctx context.Context, connection *quic.Conn, host string, after int64) *mover {
	m := &mover{ctx: ctx, connection: connection, host: host, wanted: after > 0, done: make(chan error, 1)}
	m.left.Store(after)
	return m
}

func (m *mover) counted(n int) {
	if !m.wanted || n <= 0 {
		return
	}
	after := m.left.Add(-int64(n))
	if after <= 0 && after+int64(n) > 0 {
		go func() { m.done <- m.move() }()
	}
}

func (m *mover) move() error {
	transport, err := openTransport(m.host)
	if err != nil {
		return err
	}
	path, err := m.connection.AddPath(transport)
	if err != nil {
		return fmt.Errorf("add path: %w", err)
	}
	if err := path.Probe(m.ctx); err != nil {
		return fmt.Errorf("probe path: %w", err)
	}
	if err := path.Switch(); err != nil {
		return fmt.Errorf("switch path: %w", err)
	}
	m.count.Add(1)
	return nil
}

func (m *mover) settle() error {
	if !m.wanted {
		return nil
	}
	select {
	case err := <-m.done:
		return err
	case <-m.ctx.Done():
		return fmt.Errorf("migration never finished: %w", m.ctx.Err())
	}
}
