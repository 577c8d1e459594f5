// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

const (
	// copySize is the buffer of a direction that moves much.
	copySize = 256 << 10
	// restSize is the buffer of one that rests, or carries a person's typing.
	restSize = 2 << 10
	// lull is how long a large buffer waits for more.
	lull = 50 * time.Millisecond
)

var copyBuffers = sync.Pool{New: func() any { return new([h2.Room + copySize]byte) }}

// Splice joins two streams until both directions are closed, and closes them:
// in order if both ended in order, else with a reset, so that nobody takes half
// an answer for a whole one. Sent went from a to b. A large buffer is held only
// while bytes are moving. When ctx ends, both are cut.
func Splice(ctx context.Context, a, b Conn, now func() time.Time) (sent, received int64, err error) {
	var once sync.Once
	var first error
	stop := func(err error) {
		once.Do(func() {
			first = err
			cut(a)
			cut(b)
		})
	}
	release := context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })
	defer release()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		if received, err = half(a, b, now); err != nil {
			stop(err)
		}
	}()
	if sent, err = half(b, a, now); err != nil {
		stop(err)
	}
	<-done
	once.Do(func() {
		_ = a.Close()
		_ = b.Close()
	})
	return sent, received, first
}

// half moves everything from src to dst, then closes that direction of dst, and
// watches over src as long as it can still break.
func half(dst, src Conn, now func() time.Time) (int64, error) {
	var n int64
	var err error
	s, streamed := src.(*h2.Stream)
	if streamed {
		n, err = s.WriteTo(dst)
	} else {
		n, err = pump(dst, src, now)
	}
	if err != nil {
		return n, err
	}
	if err := dst.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		return n, err
	}
	if streamed {
		err = s.Wait()
	}
	return n, err
}

// pump copies with a small buffer, and with a large one while that pays.
func pump(dst, src Conn, now func() time.Time) (int64, error) {
	write := writer(dst)
	var n int64
	rest := make([]byte, h2.Room+restSize)
	for {
		m, err := read(src, rest, write)
		n += int64(m)
		if err == nil && m == restSize {
			m, err := gush(src, write, now)
			n += m
			if err != nil {
				return n, ended(err)
			}
		}
		if err != nil {
			return n, ended(err)
		}
	}
}

// gush copies with a large buffer until nothing comes for a while.
func gush(src Conn, write func([]byte) error, now func() time.Time) (int64, error) {
	buf := copyBuffers.Get().(*[h2.Room + copySize]byte) //nolint:forcetypeassert // New makes no other
	defer copyBuffers.Put(buf)
	var n int64
	for {
		_ = src.SetReadDeadline(now().Add(lull))
		m, err := read(src, buf[:], write)
		n += int64(m)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			return n, src.SetReadDeadline(time.Time{})
		}
		if err != nil {
			return n, err
		}
	}
}

// read moves one buffer. The number is what was read and written.
func read(src io.Reader, buf []byte, write func([]byte) error) (int, error) {
	n, err := src.Read(buf[h2.Room:])
	if n > 0 {
		if err := write(buf[:h2.Room+n]); err != nil {
			return 0, &writeError{err}
		}
	}
	return n, err
}

// writeError keeps a writer's time-out from being taken for a reader's lull.
type writeError struct{ cause error }

func (e *writeError) Error() string { return e.cause.Error() }

func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// writer writes the part of a buffer behind its room.
func writer(dst io.Writer) func([]byte) error {
	if s, ok := dst.(*h2.Stream); ok {
		return s.WriteRoom
	}
	return func(b []byte) error {
		_, err := dst.Write(b[h2.Room:])
		return err
	}
}

// cut ends a stream such that the far end sees an error and no end.
func cut(c net.Conn) {
	if s, ok := c.(*h2.Stream); ok {
		s.Reset(h2.CodeCancel)
		return
	}
	raw := c
	for {
		under, ok := raw.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		raw = under.NetConn()
	}
	if l, ok := raw.(interface{ SetLinger(int) error }); ok {
		_ = l.SetLinger(0)
		_ = raw.Close()
	}
	_ = c.Close()
}
