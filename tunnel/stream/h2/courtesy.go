// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// typing is how long after a few bytes somebody is thought to go on typing.
	typing = 20 * time.Millisecond
	// alone is for how long a stream has had no long frame when its short ones
	// are somebody's typing and not the ends of what it moves.
	alone = 100 * time.Millisecond
	// share is how much may be sent at once for each CPU while somebody types,
	// and rest how long nothing long is sent then. It is less than half a
	// millisecond's work: the Linux scheduler lets a thread that has waited run at once before
	// one that rested a moment ago, but not before one that goes on and on.
	share = 256 << 10
	rest  = time.Millisecond
)

// Courtesy is shared by connections of one process. While somebody types on any
// of them, streams that move much pause a little now and then: they do not only
// share lines, which frames see to, but CPUs, too, and a keystroke passes six
// threads on its way there and back. A line so slow that CPUs have time to spare
// costs a stream nothing.
type Courtesy struct {
	typed atomic.Int64 // when somebody last did, in Unix nanoseconds

	mu    sync.Mutex
	burst int       // share of all CPUs; 0 before it is asked for
	sent  int       // since began
	began time.Time // of this burst
	until time.Time // nothing long is sent before
}

// hear notes that a stream has moved a frame. With the lock of its connection.
func (k *Courtesy) hear(s *Stream, length int, now time.Time) {
	if k == nil {
		return
	}
	if length > short {
		s.long = now
	} else if now.Sub(s.long) > alone {
		k.typed.Store(now.UnixNano())
	}
}

// pause returns how long to wait before a long frame is sent.
func (k *Courtesy) pause(length int, now time.Time) time.Duration {
	if k == nil || length <= short || now.UnixNano()-k.typed.Load() > int64(typing) {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if wait := k.until.Sub(now); wait > 0 {
		return wait
	}
	if k.burst == 0 {
		// Programs may have more processors, by Go's count, than there are.
		k.burst = share * min(runtime.NumCPU(), runtime.GOMAXPROCS(0))
	}
	if k.sent += length; k.sent < k.burst {
		return 0
	}
	spare := now.Sub(k.began) > 2*rest
	k.sent, k.began = 0, now
	if spare {
		return 0
	}
	k.until = now.Add(rest)
	k.began = k.until
	return rest
}
