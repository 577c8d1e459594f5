// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"slices"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/tunnel/dial"
)

// FuzzSteps plays gateways and operators that make no sense: greetings twice
// and from nobody, ends of what never began, clocks that stand. Whatever comes,
// only published addresses are dialled, by known ways, one dial each at a time,
// never without a certificate and never after Stop.
func FuzzSteps(f *testing.F) {
	f.Add([]byte{2, 0, 3, 1, 7, 30, 0x13, 0x14, 7, 60, 0x24, 0x16})
	f.Add([]byte{2, 2, 2, 3, 0xff, 7, 1, 5, 0x33, 0x23, 4})
	f.Fuzz(func(t *testing.T, script []byte) {
		p := &play{t: t, d: dial.New(func() float64 { return 0.25 }), now: start, pending: map[int]string{}}
		for i := 0; i+1 < len(script) && i < 2000; i += 2 {
			p.event(script[i], int(script[i+1]))
		}
		for range 50 { // it must come to rest between its own wishes
			next := p.d.Next()
			if next.IsZero() {
				return
			}
			p.now = next.Add(time.Millisecond)
			p.step(dial.Tick{})
			if after := p.d.Next(); !after.IsZero() && !after.After(p.now) {
				t.Fatalf("asks again for %s at %s", after, p.now)
			}
		}
	})
}

type play struct {
	t         *testing.T
	d         *dial.Dialler
	now       time.Time
	addresses []string
	relays    []string
	renewed   bool
	stopped   bool
	pending   map[int]string // dials that have come to no end: address
}

var places = []string{"a:1", "b:1", "c:1", "d:1"}

func (p *play) event(kind byte, n int) {
	conn := n % 16
	switch kind % 9 {
	case 0:
		p.addresses = places[:n%5]
		p.step(dial.Addresses{List: p.addresses})
	case 1:
		p.relays = places[:n%3]
		p.step(dial.Relays{List: p.relays})
	case 2:
		p.renewed = true
		p.step(dial.Renewed{})
	case 3:
		delete(p.pending, conn)
		names := []string{"", "g1", "g2", "g3"}
		p.step(dial.Greeted{Conn: conn, Instance: names[n/16%4], Instances: names[:n/64%5]})
	case 4:
		p.step(dial.Streams{Conn: conn, Count: n / 16})
	case 5:
		delete(p.pending, conn)
		p.step(dial.Ended{Conn: conn})
	case 6:
		p.step(dial.Left{Conn: conn})
	case 7:
		p.now = p.now.Add(time.Duration(n) * time.Duration(n) * 10 * time.Millisecond)
		p.step(dial.Tick{})
	case 8:
		p.stopped = p.stopped || n == 255
		if n == 255 {
			p.step(dial.Stop{})
		}
	}
}

func (p *play) step(e dial.Event) {
	for _, a := range p.d.Step(p.now, e) {
		switch a := a.(type) {
		case dial.Dial:
			if p.stopped || !p.renewed {
				p.t.Fatalf("%T: dials, stopped %t, certificate %t", e, p.stopped, p.renewed)
			}
			if !slices.Contains(p.addresses, a.Addr) || a.Via != "" && !slices.Contains(p.relays, a.Via) {
				p.t.Fatalf("dials %+v of %v by %v", a, p.addresses, p.relays)
			}
			for _, addr := range p.pending {
				if addr == a.Addr {
					p.t.Fatalf("dials %s twice at a time", addr)
				}
			}
			p.pending[a.Conn] = a.Addr
		case dial.Close:
			delete(p.pending, a.Conn)
		case dial.Drain:
		}
	}
}
