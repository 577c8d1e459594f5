// SPDX-License-Identifier: Apache-2.0

package socket

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/cni/shim"
)

// Server is the agent's end of the socket.
type Server struct {
	// Handle answers one call. Its context ends when the caller is gone. If
	// the answer cannot be delivered, Undelivered is called with it.
	Handle func(context.Context, shim.Request) shim.Response
	// Undelivered lets the agent undo what the runtime will never hear of.
	// May be nil.
	Undelivered func(shim.Request, shim.Response)
	// Limit is how many calls are worked on at once; more wait. At least 1.
	Limit int
	// Patience bounds the reading of a request and the writing of an answer.
	Patience time.Duration
	// Now is the clock.
	Now func() time.Time
}

// Serve accepts calls until ctx ends, then closes the listener, waits for the
// calls in flight and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	work := make(chan func())
	var workers, calls sync.WaitGroup
	for range max(s.Limit, 1) {
		workers.Go(func() {
			for f := range work {
				f()
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	defer calls.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept CNI calls: %w", err)
		}
		if err != nil {
			// Out of file descriptors, most likely: let others give some back.
			pause(ctx, 50*time.Millisecond)
			continue
		}
		calls.Go(func() { s.call(ctx, conn, work) })
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// call reads a request and lets one of the workers answer it.
func (s *Server) call(ctx context.Context, conn net.Conn, work chan<- func()) {
	defer func() { _ = conn.Close() }()
	var req shim.Request
	_ = conn.SetDeadline(s.Now().Add(s.Patience))
	if shim.ReadFrame(conn, &req) != nil {
		return // no request, nobody to answer
	}
	_ = conn.SetDeadline(time.Time{})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// The caller sends nothing more, so this ends when it is gone, or when
		// the connection is closed after the answer.
		_, _ = conn.Read(make([]byte, 1))
		cancel()
	}()
	done := make(chan struct{})
	select {
	case work <- func() { defer close(done); s.answer(ctx, conn, req) }:
		<-done
	case <-ctx.Done():
	}
}

func (s *Server) answer(ctx context.Context, conn net.Conn, req shim.Request) {
	resp := s.Handle(ctx, req)
	_ = conn.SetWriteDeadline(s.Now().Add(s.Patience))
	if shim.WriteFrame(conn, &resp) != nil && s.Undelivered != nil {
		s.Undelivered(req, resp)
	}
}
