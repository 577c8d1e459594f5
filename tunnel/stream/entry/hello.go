// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// maxHello bounds how much is read before the server's name is known. A hello
// with post-quantum key shares has 1.8 kB.
const maxHello = 16 << 10

var (
	errPeeked  = errors.New("the hello has been read")
	errNoHello = errors.New("not a TLS ClientHello")
)

// peekHello reads a TLS ClientHello from r and returns the server name in it
// and every byte that was read, for whoever speaks TLS at the far end. It is
// the standard library's parser that reads, because there must not be two
// opinions on where a hello ends.
func peekHello(r io.Reader) (name string, read []byte, err error) {
	taken := &bytes.Buffer{}
	tap := &oneWay{r: io.TeeReader(&io.LimitedReader{R: r, N: maxHello}, taken)}
	seen := false
	conn := tls.Server(tap, &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, seen = h.ServerName, true
			return nil, errPeeked
		},
	})
	err = conn.HandshakeContext(context.Background())
	switch {
	case seen:
		return name, taken.Bytes(), nil
	case tap.err != nil && !errors.Is(tap.err, io.EOF):
		return "", taken.Bytes(), tap.err
	default:
		return "", taken.Bytes(), errors.Join(errNoHello, err)
	}
}

// oneWay is a connection that can be read and swallows what is written: the
// alert that ends a handshake is nothing for the caller.
type oneWay struct {
	r   io.Reader
	err error
}

func (c *oneWay) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err != nil {
		c.err = err
	}
	return n, err
}

func (*oneWay) Write(p []byte) (int, error)      { return len(p), nil }
func (*oneWay) Close() error                     { return nil }
func (*oneWay) LocalAddr() net.Addr              { return nil }
func (*oneWay) RemoteAddr() net.Addr             { return nil }
func (*oneWay) SetDeadline(time.Time) error      { return nil }
func (*oneWay) SetReadDeadline(time.Time) error  { return nil }
func (*oneWay) SetWriteDeadline(time.Time) error { return nil }
