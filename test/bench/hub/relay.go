// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"

	"github.com/magpie-edge/magpie/test/bench/stage"
)

// relayAt is where each node finds the API server.
const relayAt = "127.0.0.1:6443"

// relay carries a node's connections to the API server and counts what comes
// from there.
type relay struct {
	listener net.Listener
	server   string
	down     atomic.Int64
}

// newRelay listens in the namespace and dials outside of it.
func newRelay(ctx context.Context, space *stage.Space, server string) (*relay, error) {
	r := &relay{server: strings.TrimPrefix(server, "https://")}
	err := space.Do(func() (err error) {
		r.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", relayAt)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen for a node: %w", err)
	}
	go r.run(ctx)
	return r, nil
}

func (r *relay) run(ctx context.Context) {
	for {
		near, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		go r.carry(ctx, near)
	}
}

func (r *relay) carry(ctx context.Context, near net.Conn) {
	defer near.Close()
	far, err := new(net.Dialer).DialContext(ctx, "tcp", r.server)
	if err != nil {
		return // the node sees it
	}
	defer far.Close()
	go func() {
		_, _ = io.Copy(far, near) // either end may go away at any time
		_ = far.Close()
	}()
	_, _ = io.Copy(counted{near, &r.down}, far)
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n.Add(int64(n))
	return n, err //nolint:wrapcheck // it is the connection's own
}
