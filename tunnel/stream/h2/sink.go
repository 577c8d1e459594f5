// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"io"
	"syscall"
)

// sink is a socket at the end of a stream. The goroutine that reads the
// connection offers it what has come: a reader that keeps up is served without
// waking the goroutine that waits for it, which costs more than the bytes of a
// keystroke. One that does not is left to that goroutine, so it stalls nobody.
type sink struct {
	raw  syscall.RawConn
	sunk int64 // bytes it took; guarded by the lock of the connection

	// Of one try.
	p []byte
	n int
}

// sinkOf returns the sink of a writer that is a socket, else nil.
func sinkOf(w io.Writer) *sink {
	s, ok := w.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return &sink{raw: raw}
}

// try writes what the socket takes without waiting. An error is nothing taken:
// whoever writes next meets it, too.
func (k *sink) try(p []byte) int {
	k.p, k.n = p, 0
	_ = k.raw.Write(k.once)
	k.p = nil
	return k.n
}

func (k *sink) once(fd uintptr) bool {
	if n, err := syscall.Write(int(fd), k.p); err == nil {
		k.n = n
	}
	return true // never wait
}

// sunk offers a chunk to the sink, with the connection's lock given away for
// that long, and reports whether it is all gone. Nobody else writes to the sink
// meanwhile: the queue is empty, so the goroutine that could is waiting.
func (s *Stream) sunk(piece *chunk) bool {
	to := s.sink
	s.c.mu.Unlock()
	n := to.try(piece.b)
	s.c.mu.Lock()
	to.sunk += int64(n)
	piece.r = n
	s.consume(int32(n))
	if n < len(piece.b) {
		return false
	}
	piece.free()
	return true
}
