// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"encoding/binary"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"

	"github.com/magpie-edge/magpie/tunnel/wire"
)

// endless is a TUN device that always has a batch to read.
type endless struct{ tun.Device }

func (endless) Read(bufs [][]byte, _ []int, _ int) (int, error) { return len(bufs), nil }

// nowhere is a bind that takes everything.
type nowhere struct{ conn.Bind }

func (nowhere) Send([][]byte, conn.Endpoint) error { return nil }

const batch = conn.IdealBatchSize

// reads takes that many batches from the device and returns how long
// each took.
func reads(t *testing.T, d tun.Device, times int) []time.Duration {
	t.Helper()
	var took []time.Duration
	for range times {
		start := time.Now()
		if _, err := d.Read(make([][]byte, batch), make([]int, batch), 0); err != nil {
			t.Fatal(err)
		}
		took = append(took, time.Since(start))
	}
	return took
}

// messages are as many transport messages with a packet inside.
func messages(n int) [][]byte {
	m := make([]byte, 100)
	binary.LittleEndian.PutUint32(m, device.MessageTransportType)
	out := make([][]byte, n)
	for i := range out {
		out[i] = m
	}
	return out
}

func TestBoundWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, b := wire.Bounded(endless{}, nowhere{})
		reads(t, d, runtime.GOMAXPROCS(0)) // full
		go func() {
			time.Sleep(time.Millisecond)
			_ = b.Send([][]byte{make([]byte, device.MessageInitiationSize)}, nil) // no packet inside
			time.Sleep(time.Millisecond)
			_ = b.Send(messages(1), nil)
		}()
		if took := reads(t, d, 1)[0]; took != 2*time.Millisecond {
			t.Errorf("the read that has to wait for a packet to leave took %v, want 2ms", took)
		}
	})
}

// Packets that are dropped inside hold nobody up for long, and not again soon.
func TestBoundGivesUpLostPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := wire.Bounded(endless{}, nowhere{})
		reads(t, d, runtime.GOMAXPROCS(0))
		took := reads(t, d, 100*runtime.GOMAXPROCS(0))
		var sum time.Duration
		for _, d := range took {
			sum += d
		}
		if took[0] == 0 || sum > 20*time.Millisecond {
			t.Errorf("the first read took %v and all together %v; want one short wait", took[0], sum)
		}
	})
}
