// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// RelayCode says what became of a neighbour's request. Codes are metric labels.
type RelayCode string

// Codes of requests to a relay.
const (
	RelayDone      RelayCode = "done"      // carried until its end
	RelayStranger  RelayCode = "stranger"  // from an address that is no neighbour's
	RelayTarget    RelayCode = "target"    // to an address that is not published
	RelayBusy      RelayCode = "busy"      // too many connections
	RelayMalformed RelayCode = "malformed" // not a CONNECT request, or not in time
	RelayUnreached RelayCode = "unreached" // the gateway does not answer us either
	RelayCut       RelayCode = "cut-short" // one side broke
	RelayStopped   RelayCode = "shut-down" // we ended it
)

// Relay carries neighbours' connections to the gateways: on a gateway node of a
// site, for nodes that have no way out. It sees ciphertext: TLS is between the
// neighbour and the gateway.
type Relay struct {
	// Neighbour reports whether an address is that of a node of our own domain,
	// Published whether agents dial that address.
	Neighbour func(netip.Addr) bool
	Published func(addr string) bool
	// Reach connects to a published address.
	Reach func(ctx context.Context, addr string) (net.Conn, error)
	// Most connections at once, and of one neighbour; 0 means 1024 and 32.
	Most, MostEach int
	// Seen is told what became of each request. May be nil.
	Seen func(from netip.Addr, addr string, code RelayCode, err error)

	mu   sync.Mutex
	open map[netip.Addr]int
	all  int
}

// Serve carries what l accepts until ctx ends; it closes l.
func (r *Relay) Serve(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ctx.Err()
		}
		if err != nil { // out of files, most likely: who is carried must get on
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		from := sourceOf(conn.RemoteAddr())
		if code := r.enter(from); code != RelayDone {
			r.seen(from, "", code, nil)
			_ = answer(conn, http.StatusServiceUnavailable) // fits into an empty socket
			_ = conn.Close()
			continue
		}
		conns.Go(func() {
			defer r.leave(from)
			addr, code, err := r.carry(ctx, conn)
			r.seen(from, addr, code, err)
		})
	}
}

// enter admits a connection, before a byte of it is read.
func (r *Relay) enter(from netip.Addr) RelayCode {
	if !r.Neighbour(from) {
		return RelayStranger
	}
	most, each := r.Most, r.MostEach
	if most == 0 {
		most = 1024
	}
	if each == 0 {
		each = 32
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all >= most || r.open[from] >= each {
		return RelayBusy
	}
	if r.open == nil {
		r.open = map[netip.Addr]int{}
	}
	r.all++
	r.open[from]++
	return RelayDone
}

func (r *Relay) leave(from netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all--
	if r.open[from]--; r.open[from] == 0 {
		delete(r.open, from)
	}
}

// Open is how many connections are carried now.
func (r *Relay) Open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all
}

func (r *Relay) seen(from netip.Addr, addr string, code RelayCode, err error) {
	if r.Seen != nil {
		r.Seen(from, addr, code, err)
	}
}

// carry serves one neighbour's connection and closes it.
func (r *Relay) carry(ctx context.Context, near net.Conn) (addr string, code RelayCode, err error) {
	defer near.Close()
	stop := context.AfterFunc(ctx, func() { _ = near.Close() })
	defer stop()
	_ = near.SetDeadline(time.Now().Add(DialLimit)) //nolint:forbidigo // where time enters
	addr, early, err := readConnect(near)
	if err != nil {
		_ = answer(near, http.StatusBadRequest)
		return "", RelayMalformed, err
	}
	if !r.Published(addr) {
		_ = answer(near, http.StatusForbidden)
		return addr, RelayTarget, nil
	}
	// The neighbour waits DialLimit for everything, the handshake included.
	dial, cancel := context.WithTimeout(ctx, DialLimit*8/10)
	defer cancel()
	far, err := r.Reach(dial, addr)
	if err != nil {
		_ = answer(near, http.StatusBadGateway)
		return addr, RelayUnreached, err
	}
	defer far.Close()
	if err := errors.Join(answer(near, http.StatusOK), near.SetDeadline(time.Time{})); err != nil {
		return addr, RelayCut, err
	}
	err = pipe(ctx, ahead(near, early), far)
	switch {
	case ctx.Err() != nil:
		return addr, RelayStopped, nil
	case err != nil:
		return addr, RelayCut, err
	}
	return addr, RelayDone, nil
}

func answer(w io.Writer, status int) error {
	_, err := fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n\r\n", status, http.StatusText(status))
	return err
}

// readConnect reads a request for a connection: where to, and what came behind
// it.
func readConnect(r io.Reader) (addr string, early []byte, err error) {
	br := bufio.NewReader(&io.LimitedReader{R: r, N: maxHead})
	q, err := http.ReadRequest(br)
	if err != nil {
		return "", nil, fmt.Errorf("read the request: %w", err)
	}
	if q.Method != http.MethodConnect || q.ContentLength > 0 || len(q.TransferEncoding) > 0 {
		return "", nil, fmt.Errorf("%.16q is not a plain CONNECT", q.Method)
	}
	early, err = br.Peek(br.Buffered())
	return q.RequestURI, early, err
}

// pipe copies both ways until both have ended, or one has broken. Between two
// sockets the kernel does it (splice(2)), so nothing is buffered here.
func pipe(ctx context.Context, near, far net.Conn) error {
	stop := context.AfterFunc(ctx, func() { _ = far.Close() })
	defer stop()
	results := make(chan error, 2)
	half := func(dst, src net.Conn) {
		_, err := io.Copy(dst, src)
		if w, ok := dst.(interface{ CloseWrite() error }); err == nil && ok {
			err = w.CloseWrite()
		} else {
			_, _ = dst.Close(), src.Close()
		}
		results <- err
	}
	go half(near, far)
	half(far, near)
	// Who has said all and left breaks the other direction: that is no error.
	first, _ := <-results, <-results
	return first
}
