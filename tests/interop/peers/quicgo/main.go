// Command quicgo is the quic-go peer of the interop runner: an HTTP/3 client or server told what to do by a JSON
// file and reporting facts as JSON lines.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/qlog"
)

type request struct {
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Size    int64       `json:"size"`
	Base64  []byte      `json:"base64"`
	Headers [][2]string `json:"headers"`
}

type plan struct {
	Requests          []request `json:"requests"`
	EarlyData         bool      `json:"earlyData"`
	Resume            bool      `json:"resume"`
	MigrateAfterBytes int64     `json:"migrateAfterBytes"`
}

type spec struct {
	Role          string   `json:"role"`
	Host          string   `json:"host"`
	Port          int      `json:"port"`
	BindHost      string   `json:"bindHost"`
	ServerName    string   `json:"serverName"`
	CA            string   `json:"ca"`
	Certificate   string   `json:"certificate"`
	PrivateKey    string   `json:"privateKey"`
	Versions      []string `json:"versions"`
	FirstVersion  string   `json:"firstVersion"`
	Retry         bool     `json:"retry"`
	IdleTimeoutMs int64    `json:"idleTimeoutMs"`
	WindowBytes   uint64   `json:"windowBytes"`
	StreamsMax    int64    `json:"streamsMax"`
	TimeoutMs     int64    `json:"timeoutMs"`
	QlogDir       string   `json:"qlogDir"`
	KeylogFile    string   `json:"keylogFile"`
	Connections   []plan   `json:"connections"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		info, _ := debug.ReadBuildInfo()
		for _, dependency := range info.Deps {
			if dependency.Path == "github.com/quic-go/quic-go" {
				fmt.Println(dependency.Version)
			}
		}
		return
	}
	var s spec
	if len(os.Args) != 2 {
		fail("usage: one argument, a file with the specification as JSON (see tests/interop/README.md)")
	}
	text, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		fail("%v", err)
	}
	if s.QlogDir != "" {
		os.Setenv("QLOGDIR", s.QlogDir)
	}
	if s.Role == "server" {
		serve(&s)
	} else {
		runClient(&s)
	}
}

func fail(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
	os.Exit(1)
}

func (s *spec) quicConfig() *quic.Config {
	versions := []quic.Version{}
	names := s.Versions
	if s.FirstVersion != "" {
		names = append([]string{s.FirstVersion}, names...)
	}
	for _, name := range names {
		version := map[string]quic.Version{"1": quic.Version1, "2": quic.Version2}[name]
		if version == 0 {
			fail("quic-go cannot speak version %q", name)
		}
		known := false
		for _, v := range versions {
			known = known || v == version
		}
		if !known {
			versions = append(versions, version)
		}
	}
	config := &quic.Config{
		Versions:             versions,
		MaxIdleTimeout:       time.Duration(s.IdleTimeoutMs) * time.Millisecond,
		HandshakeIdleTimeout: 20 * time.Second,
		Allow0RTT:            true,
		Tracer:               qlog.DefaultConnectionTracer,
		TokenStore:           quic.NewLRUTokenStore(8, 8),
		MaxIncomingStreams:   s.StreamsMax,
	}
	if s.WindowBytes > 0 {
		config.InitialStreamReceiveWindow = s.WindowBytes
		config.MaxStreamReceiveWindow = s.WindowBytes
		config.InitialConnectionReceiveWindow = s.WindowBytes
		config.MaxConnectionReceiveWindow = s.WindowBytes
	}
	return config
}

func (s *spec) tlsConfig() *tls.Config {
	config := &tls.Config{NextProtos: []string{"h3"}, MinVersion: tls.VersionTLS13}
	if s.KeylogFile != "" {
		file, err := os.OpenFile(s.KeylogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			fail("%v", err)
		}
		config.KeyLogWriter = file
	}
	if s.Role == "server" {
		pair, err := tls.LoadX509KeyPair(s.Certificate, s.PrivateKey)
		if err != nil {
			fail("%v", err)
		}
		config.Certificates = []tls.Certificate{pair}
		return config
	}
	pem, err := os.ReadFile(s.CA)
	if err != nil {
		fail("%v", err)
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		fail("%s holds no certificate", s.CA)
	}
	config.ServerName = s.ServerName
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	return config
}

func stateFacts(state quic.ConnectionState) map[string]any {
	return map[string]any{
		"version":           uint32(state.Version),
		"alpn":              state.TLS.NegotiatedProtocol,
		"resumed":           state.TLS.DidResume,
		"earlyData":         state.Used0RTT,
		"handshakeComplete": state.TLS.HandshakeComplete,
		"cipher":            tls.CipherSuiteName(state.TLS.CipherSuite),
	}
}
