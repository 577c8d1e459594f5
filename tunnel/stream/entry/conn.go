// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// join carries bytes between a caller and its stream until both have ended; the
// stream reports itself.
func join(ctx context.Context, near, far stream.Conn, now func() time.Time) {
	_, _, _ = stream.Splice(ctx, near, far, now)
}

// ahead is a connection of which some bytes have been read already.
type ahead struct {
	stream.Conn
	early []byte
}

func (c *ahead) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	return c.Conn.Read(p)
}

// NetConn is the connection below, as tls.Conn has it.
func (c *ahead) NetConn() net.Conn { return c.Conn }

// exchange is the caller's side of a CONNECT over HTTP/2: request body and
// response body. A handler can end its response only by returning, so
// CloseWrite ends both directions; what is behind a kubelet's TLS has ended
// when it closes its own.
type exchange struct {
	body    io.ReadCloser
	w       http.ResponseWriter
	control *http.ResponseController
	once    sync.Once
}

func (c *exchange) Read(p []byte) (int, error) { return c.body.Read(p) }

func (c *exchange) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if err == nil {
		err = c.control.Flush()
	}
	return n, err
}

func (c *exchange) CloseWrite() error { return c.Close() }

func (c *exchange) Close() (err error) {
	c.once.Do(func() { err = c.body.Close() })
	return err
}

func (*exchange) LocalAddr() net.Addr  { return nobody{} }
func (*exchange) RemoteAddr() net.Addr { return nobody{} }

// Deadlines of net/http are for good: a read that times out ends the request.
// What sets them here wants to be woken, which it can do without.
func (*exchange) SetDeadline(time.Time) error      { return nil }
func (*exchange) SetReadDeadline(time.Time) error  { return nil }
func (*exchange) SetWriteDeadline(time.Time) error { return nil }

// nobody is the address of an HTTP/2 stream.
type nobody struct{}

func (nobody) Network() string { return "tcp" }
func (nobody) String() string  { return "http2" }
