// Command quicgo is quic-go as a peer of the benchmark: `ROLE name=value …`, answers are JSON lines.
package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

const (
	echo             = math.MaxUint64
	endless          = uint64(1) << 50
	messageBytes     = 100
	streamWindow     = 16 << 20
	connectionWindow = 32 << 20
)

var chunk = make([]byte, 256<<10)

var given = map[string]string{}

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
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: server|client name=value …"))
	}
	for _, word := range os.Args[2:] {
		name, value, _ := strings.Cut(word, "=")
		given[name] = value
	}
	switch os.Args[1] {
	case "server":
		fail(serve())
	case "origin":
		fail(origin())
	case "client":
		fail(work())
		select {}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func number(name string) float64 {
	value, err := strconv.ParseFloat(given[name], 64)
	if err != nil {
		fail(fmt.Errorf("%s= is not a number", name))
	}
	return value
}

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }

func report(event string, facts map[string]any) {
	if facts == nil {
		facts = map[string]any{}
	}
	facts["event"] = event
	line, _ := json.Marshal(facts)
	os.Stdout.Write(append(line, '\n'))
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func percentile(values []float64, share float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[int(math.Round(float64(len(values)-1)*share))]
}

func config() *quic.Config {
	return &quic.Config{
		MaxIdleTimeout:                 120 * time.Second,
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: connectionWindow,
		MaxConnectionReceiveWindow:     connectionWindow,
		MaxIncomingStreams:             20_000,
		Allow0RTT:                      true,
	}
}

func serve() error {
	pair, err := tls.LoadX509KeyPair(given["certificate"], given["key"])
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return err
	}
	transport := &quic.Transport{Conn: socket}
	listener, err := transport.ListenEarly(&tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"perf"}}, config())
	if err != nil {
		return err
	}
	report("listening", map[string]any{"port": socket.LocalAddr().(*net.UDPAddr).Port})
	collect := make(chan os.Signal, 1)
	signal.Notify(collect, syscall.SIGUSR2)
	go func() {
		for range collect {
			debug.FreeOSMemory()
			report("collected", nil)
		}
	}()
	for {
		connection, err := listener.Accept(context.Background())
		if err != nil {
			return err
		}
		go func() {
			for {
				stream, err := connection.AcceptStream(context.Background())
				if err != nil {
					return
				}
				go answer(stream)
			}
		}()
	}
}

// answer reads eight bytes that say how many bytes to answer with once the request has ended; all ones ask for an echo.
func answer(stream *quic.Stream) {
	defer stream.Close()
	var head [8]byte
	if _, err := io.ReadFull(stream, head[:]); err != nil {
		return
	}
	count := binary.BigEndian.Uint64(head[:])
	if count == echo {
		io.CopyBuffer(struct{ io.Writer }{stream}, struct{ io.Reader }{stream}, make([]byte, 4096))
		return
	}
	if _, err := drain(stream, nil); err == nil {
		send(stream, count, time.Time{}, nil)
	}
}
