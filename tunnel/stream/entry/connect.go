// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

const (
	// maxHeader bounds the header of a caller's request in bytes.
	maxHeader = 16 << 10
	// headerTime bounds how long it may take to arrive.
	headerTime = 10 * time.Second
	// idleTime ends a connection on which no request came for so long.
	idleTime = 2 * time.Minute
	// headerCode carries a refusal's code to a caller that reads headers.
	headerCode = "Magpie-Code"
)

// Connect is the entry for a control plane whose flags are ours: the
// HTTPConnect protocol of EgressSelectorConfiguration, over a unix socket or
// over TCP with certificates of both sides.
type Connect struct {
	Roads *Roads
	// Who names the caller of a request. Its error refuses the caller; nil
	// accepts everybody who reaches the listener, as a unix socket with mode
	// 0600 does.
	Who func(*http.Request) (string, error)
}

// Serve accepts callers from l until l is closed, and returns when the last of
// them is gone. The end of ctx cuts all of them. On a TLS listener HTTP/2 is
// spoken to those who ask for it, on any other to those who know beforehand.
func (c *Connect) Serve(ctx context.Context, l net.Listener) error {
	var callers sync.WaitGroup
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			callers.Add(1)
			defer callers.Done()
			c.serve(ctx, w, r)
		}),
		Protocols:         protocols,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	return serve(ctx, s, l, &callers)
}

// serve runs s until l is closed and its callers are gone, or ctx ends.
func serve(ctx context.Context, s *http.Server, l net.Listener, callers *sync.WaitGroup) error {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	err := s.Serve(l)
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	callers.Wait()
	return errors.Join(err, s.Close())
}

func (c *Connect) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	wish, why := c.wish(r)
	if why != nil {
		answer(w, r, c.Roads.Refuse(wish, why.Code, why.Text))
		return
	}
	far, err := c.Roads.Open(r.Context(), wish)
	if err != nil {
		answer(w, r, refusal(err, stream.CodeReset))
		return
	}
	near, err := accepted(w, r)
	if err != nil {
		_ = far.Close()
		return
	}
	join(ctx, near, far, c.Roads.Now)
}

// wish reads what the caller wants. A CONNECT has no body: a header that
// announces one is an attempt to be understood differently by two parsers.
func (c *Connect) wish(r *http.Request) (Wish, *stream.Refusal) {
	w := Wish{Caller: "connect"}
	if c.Who != nil {
		caller, err := c.Who(r)
		if err != nil {
			return w, refusal(err, stream.CodeUnauthenticated)
		}
		w.Caller = "connect " + caller
	}
	bad := func(text string) (Wish, *stream.Refusal) {
		return w, &stream.Refusal{Code: stream.CodeBadRequest, Text: text}
	}
	if r.Method != http.MethodConnect {
		return bad("this entry understands CONNECT only")
	}
	target := r.Host
	if r.ProtoMajor == 1 {
		target = r.RequestURI // the Host header is the proxy's name in some clients
		if r.ContentLength != 0 || len(r.TransferEncoding) != 0 {
			return bad("a CONNECT has no body")
		}
	}
	if r.Header.Get(":protocol") != "" {
		return bad("extended CONNECT is not spoken here")
	}
	host, port, err := parseAuthority(target)
	if err != nil {
		return bad(err.Error())
	}
	w.Host, w.Port = host, port
	return w, nil
}

// statuses are what callers that know HTTP only are told.
var statuses = map[stream.Code]int{
	stream.CodeBadRequest:      http.StatusBadRequest,
	stream.CodeUnauthenticated: http.StatusUnauthorized,
	stream.CodeForbidden:       http.StatusForbidden,
	stream.CodeNotAllowed:      http.StatusForbidden,
	stream.CodeTooManyStreams:  http.StatusTooManyRequests,
	stream.CodeTooManyDials:    http.StatusTooManyRequests,
	stream.CodeDialTimeout:     http.StatusGatewayTimeout,
	stream.CodeNoSession:       http.StatusServiceUnavailable,
	stream.CodeDraining:        http.StatusServiceUnavailable,
}

func status(c stream.Code) int {
	if s := statuses[c]; s != 0 {
		return s
	}
	return http.StatusBadGateway
}

// answer turns a caller away. The API server shows kubectl's user the status
// line and nothing else of a proxy's answer, so the reason stands there.
func answer(w http.ResponseWriter, r *http.Request, why *stream.Refusal) {
	w.Header().Set(headerCode, string(why.Code))
	if r.ProtoMajor != 1 {
		if why.Code == stream.CodeUnauthenticated {
			w.Header().Set("Connection", "close") // a stranger does not stay
		}
		http.Error(w, why.Error(), status(why.Code))
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return // the caller is gone
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{})
	text := why.Error() + "\n"
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n%s: %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status(why.Code), line(why.Error()), headerCode, why.Code, len(text), text)
}

// line makes text fit for a status line.
func line(text string) string {
	if len(text) > 256 {
		text = text[:256]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '.'
		}
		return r
	}, text)
}

// accepted tells the caller that its stream is open and returns its side of it.
func accepted(w http.ResponseWriter, r *http.Request) (stream.Conn, error) {
	control := http.NewResponseController(w)
	if r.ProtoMajor != 1 {
		w.WriteHeader(http.StatusOK)
		if err := control.Flush(); err != nil {
			return nil, fmt.Errorf("accept: %w", err)
		}
		return &exchange{body: r.Body, w: w, control: control}, nil
	}
	conn, rw, err := control.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	_ = conn.SetDeadline(time.Time{})
	near, ok := conn.(stream.Conn)
	if !ok {
		return nil, errors.Join(errors.New("a connection that can not be closed in one direction"), conn.Close())
	}
	if n := rw.Reader.Buffered(); n > 0 { // the caller did not wait for the answer
		early, _ := rw.Peek(n)
		near = &ahead{Conn: near, early: append([]byte(nil), early...)}
	}
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return near, nil
}
