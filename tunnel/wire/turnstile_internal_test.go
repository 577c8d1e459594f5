// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"testing"
	"testing/synctest"
)

// TestTurnstile lets one compute at a time, whoever has begun before whoever has
// not, and nobody wait for one that waits for its peer.
func TestTurnstile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := &turnstile{free: 1}
		ts.enter(false)
		order := make(chan string, 4)
		for _, w := range []struct {
			name  string
			begun bool
		}{{"new", false}, {"newer", false}, {"begun", true}} {
			go func() {
				ts.enter(w.begun)
				order <- w.name
				ts.leave()
			}()
			synctest.Wait()
		}
		select {
		case n := <-order:
			t.Fatalf("%s computes beside another", n)
		default:
		}
		ts.leave()
		synctest.Wait()
		for _, want := range []string{"begun", "new", "newer"} {
			if got := <-order; got != want {
				t.Errorf("%s is next, want %s", got, want)
			}
		}
		near, far := net.Pipe()
		slow := ts.pace(near)
		go func() { _, _ = slow.Read(make([]byte, 1)) }() // its peer says nothing
		synctest.Wait()
		ts.enter(false)
		_ = far.Close()
		synctest.Wait()
		ts.leave()
		synctest.Wait()
		slow.end()
		if ts.free != 1 {
			t.Errorf("%d places are free, want 1", ts.free)
		}
	})
}
