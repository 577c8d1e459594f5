// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxHead bounds the head of a reply or a request, in bytes. Proxies that write
// a page about why they refuse write it behind the head.
const maxHead = 16 << 10

// askConnect asks the far end of conn for a connection to addr.
// Source: RFC 9110 section 9.3.6.
func askConnect(ctx context.Context, conn net.Conn, addr string, user *url.Userinfo) (net.Conn, error) {
	// A deadline in the past interrupts whatever waits when ctx ends.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	var b strings.Builder
	fmt.Fprintf(&b, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: magpie-agent\r\n", addr, addr)
	if user != nil {
		password, _ := user.Password()
		token := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		fmt.Fprintf(&b, "Proxy-Authorization: Basic %s\r\n", token)
	}
	b.WriteString("\r\n")
	_, err := io.WriteString(conn, b.String())
	if err != nil {
		err = fmt.Errorf("ask: %w", err)
	}
	var rest []byte
	if err == nil {
		rest, err = readReply(conn)
	}
	if !stop() {
		return nil, errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, err
	}
	return ahead(conn, rest), nil
}

// readReply reads the reply to CONNECT and returns what came behind it.
func readReply(r io.Reader) ([]byte, error) {
	br := bufio.NewReader(&io.LimitedReader{R: r, N: maxHead})
	// Whatever its head says of a body, what follows belongs to the connection.
	reply, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect}) //nolint:bodyclose // it has none
	if err != nil {
		return nil, fmt.Errorf("read the reply: %w", err)
	}
	switch {
	case reply.ProtoMajor != 1:
		return nil, errors.New("what answers speaks no HTTP/1")
	case reply.StatusCode/100 == 2:
		return br.Peek(br.Buffered())
	case reply.StatusCode == http.StatusProxyAuthRequired:
		return nil, errors.New("it wants credentials, and takes those in the proxy's URL (http://user:password@host:port) by the scheme Basic only")
	}
	return nil, fmt.Errorf("it refuses: %d %s", reply.StatusCode, http.StatusText(reply.StatusCode))
}

// ahead puts bytes that were read too early before the rest of a connection.
func ahead(c net.Conn, early []byte) net.Conn {
	if len(early) == 0 {
		return c
	}
	return &started{Conn: c, early: early}
}

// started is a connection of which something has been read already.
type started struct {
	net.Conn
	early []byte
}

func (c *started) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

func (c *started) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
