// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"net"
	"sync"
)

// batchSize is how much is written at once: small enough to stay in a CPU's
// cache between TLS and the kernel.
const batchSize = 128 << 10

var batches = sync.Pool{New: func() any { return new([batchSize]byte) }}

// Batch is a socket below TLS which collects what TLS writes while it is held.
// Whoever holds it is the only writer.
type Batch struct {
	net.Conn

	mu  sync.Mutex       // TLS may say goodbye at any time
	buf *[batchSize]byte // nil while it is not held
	n   int
}

// NewBatch wraps a socket.
func NewBatch(conn net.Conn) *Batch { return &Batch{Conn: conn} }

// NetConn is the socket.
func (b *Batch) NetConn() net.Conn { return b.Conn }

// Write writes through, or collects.
func (b *Batch) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.buf == nil {
		return b.Conn.Write(p)
	}
	if b.n+len(p) > len(b.buf) {
		if err := b.flush(); err != nil {
			return 0, err
		}
		if len(p) > len(b.buf) {
			return b.Conn.Write(p)
		}
	}
	b.n += copy(b.buf[b.n:], p)
	return len(p), nil
}

func (b *Batch) flush() error {
	n := b.n
	b.n = 0
	if n == 0 {
		return nil
	}
	_, err := b.Conn.Write(b.buf[:n])
	return err
}

// hold begins to collect.
func (b *Batch) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = batches.Get().(*[batchSize]byte) //nolint:forcetypeassert // New makes no other
}

// release writes what was collected.
func (b *Batch) release() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.flush()
	batches.Put(b.buf)
	b.buf = nil
	return err
}

// batchOf finds the Batch below a connection.
func batchOf(c net.Conn) *Batch {
	under, ok := c.(interface{ NetConn() net.Conn })
	if !ok {
		return nil
	}
	b, _ := under.NetConn().(*Batch)
	return b
}
