// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// TestOpenerToNetHTTP opens streams to Go's HTTP/2 server, several at a time and
// with more bytes than its windows have.
func TestOpenerToNetHTTP(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Protocols: only(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Host != "node:10250" {
			http.Error(w, "what?", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		_, _ = io.Copy(flushing{w}, r.Body)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	e := run(t, nc, h2.Options{})
	var all sync.WaitGroup
	for i := range 8 {
		sent := noise(i)
		all.Go(func() {
			s, err := e.Open(t.Context(), connect)
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				_, _ = s.Write(sent)
				_ = s.CloseWrite()
			}()
			same(t, s, sent)
		})
	}
	all.Wait()
}

// TestAcceptorToNetHTTP takes requests of Go's HTTP/2 client.
func TestAcceptorToNetHTTP(t *testing.T) {
	transport := &http.Transport{Protocols: only(), DialContext: func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		run(t, far, h2.Options{Accept: echo})
		return near, nil
	}}
	defer transport.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range 8 {
		sent := noise(i)
		all.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://node:10250/", io.NopCloser(bytes.NewReader(sent)))
			if err != nil {
				t.Error(err)
				return
			}
			answer, err := transport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			same(t, answer.Body, sent)
		})
	}
	all.Wait()
}

func only() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

func noise(i int) []byte {
	b := make([]byte, 3<<20+i)
	_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(b)
	return b
}

func same(t *testing.T, r io.Reader, want []byte) {
	t.Helper()
	got, err := io.ReadAll(r)
	if err != nil || sha256.Sum256(got) != sha256.Sum256(want) {
		t.Errorf("%d bytes of %d, or others: %v", len(got), len(want), err)
	}
}

// flushing writes at once.
type flushing struct{ http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.ResponseWriter.Write(p)
	if err == nil {
		err = http.NewResponseController(f.ResponseWriter).Flush()
	}
	return n, err
}
