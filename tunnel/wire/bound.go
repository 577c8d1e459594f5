// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"runtime"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// bound limits how many packets are inside wireguard-go in one direction. The
// library reads as fast as it can, and each packet that waits for encryption
// holds a buffer of 64 KiB: one TCP stream fills hundreds of megabytes, no CPU
// cache holds its packets, and each byte costs a tenth more. What may not come
// in yet waits in the kernel, where it costs what it weighs.
//
// The count is a guess, because the library drops packets without a word (no
// session, a replay). So an end that has waited for patience in vain takes all
// for lost and does not wait again for distrust; and when nothing came in for
// patience, all that was inside has left.
type bound struct {
	limit int
	room  chan struct{} // a token says that inside has fallen below limit

	mu     sync.Mutex
	inside int
	off    time.Time // until then nobody waits
}

const (
	patience = 10 * time.Millisecond
	distrust = time.Second
)

// newBound allows a full batch for each CPU that may work on one.
func newBound() *bound {
	return &bound{limit: conn.IdealBatchSize * runtime.GOMAXPROCS(0), room: make(chan struct{}, 1)}
}

// through waits for room, lets read take packets in, and counts those.
func (b *bound) through(read func() (packets int, err error)) error {
	if b.full(now()) {
		b.wait()
	}
	start := now()
	n, err := read()
	idle := now().Sub(start) >= patience
	b.mu.Lock()
	defer b.mu.Unlock()
	if idle {
		b.inside = 0
	}
	b.inside += n
	return err
}

func (b *bound) full(at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inside >= b.limit && !at.Before(b.off)
}

func (b *bound) wait() {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for inside := b.count(); b.full(now()); inside = b.count() {
		select {
		case <-b.room:
		case <-timer.C:
			if b.count() < inside {
				break // slowly, but they leave
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.inside, b.off = 0, now().Add(distrust)
			return
		}
		timer.Reset(patience)
	}
}

func (b *bound) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inside
}

// leave counts packets that have come out.
func (b *bound) leave(packets int) {
	b.mu.Lock()
	was := b.inside
	b.inside = max(b.inside-packets, 0)
	opened := was >= b.limit && b.inside < b.limit
	b.mu.Unlock()
	if opened {
		select {
		case b.room <- struct{}{}:
		default: // one is there
		}
	}
}

func now() time.Time { return time.Now() } //nolint:forbidigo // where time enters

// bounded puts a bound on either direction between a TUN device and a bind.
func bounded(t tun.Device, b conn.Bind) (tun.Device, conn.Bind) {
	out, in := newBound(), newBound()
	return boundTUN{t, out, in}, boundBind{b, out, in}
}

type boundTUN struct {
	tun.Device
	out, in *bound
}

func (t boundTUN) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	err = t.out.through(func() (int, error) {
		n, err = t.Device.Read(bufs, sizes, offset)
		return n, err
	})
	return n, err
}

func (t boundTUN) Write(bufs [][]byte, offset int) (int, error) {
	packets := len(bufs)
	n, err := t.Device.Write(bufs, offset)
	t.in.leave(packets)
	return n, err
}

type boundBind struct {
	conn.Bind
	out, in *bound
}

func (b boundBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receive, actual, err := b.Bind.Open(port)
	for i, f := range receive {
		receive[i] = func(packets [][]byte, sizes []int, eps []conn.Endpoint) (n int, err error) {
			err = b.in.through(func() (int, error) {
				n, err = f(packets, sizes, eps)
				carried := 0
				for j := range n {
					if carries(packets[j][:sizes[j]]) {
						carried++
					}
				}
				return carried, err
			})
			return n, err
		}
	}
	return receive, actual, err
}

func (b boundBind) Send(bufs [][]byte, ep conn.Endpoint) error {
	carried := 0
	for _, m := range bufs {
		if carries(m) {
			carried++
		}
	}
	err := b.Bind.Send(bufs, ep)
	b.out.leave(carried)
	return err
}

// carries reports whether a message has a packet inside: handshakes and
// keepalives have none.
func carries(message []byte) bool {
	return len(message) > device.MessageKeepaliveSize && binary.LittleEndian.Uint32(message) == device.MessageTransportType
}
