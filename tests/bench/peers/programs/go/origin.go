package main

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// origin is the HTTP/1.1 service behind the proxies that are compared.
func origin() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	report("listening", map[string]any{"port": listener.Addr().(*net.TCPAddr).Port})
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/upload":
			received, _ := io.Copy(io.Discard, r.Body)
			io.WriteString(w, strconv.FormatInt(received, 10))
		case strings.HasPrefix(r.URL.Path, "/bytes/"):
			count, err := strconv.ParseUint(r.URL.Path[len("/bytes/"):], 10, 64)
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			for left := count; left > 0; {
				n, err := w.Write(chunk[:min(left, uint64(len(chunk)))])
				if err != nil {
					return
				}
				left -= uint64(n)
			}
		default:
			w.Write(chunk[:messageBytes])
		}
	}))
}
