// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"net/netip"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Share is what one caller that nobody has authenticated may have of one node.
// What a node takes is limited, so without it whoever reaches the entry could
// use that up, and the control plane would find the node busy. The zero value
// of a field is no limit.
type Share struct {
	// Streams open at once.
	Streams int
	// DialsPerSecond, with bursts of as many.
	DialsPerSecond int
}

// shares counts what callers have of nodes.
type shares struct {
	each Share

	mu   sync.Mutex
	have map[shareKey]*share
}

type shareKey struct {
	from netip.Addr
	node string
}

type share struct {
	open  int
	dials float64 // that may be made, as of at
	at    time.Time
}

// maxShares bounds the memory for callers that have nothing open.
const maxShares = 1 << 16

// enter returns nil, which leave must follow, or the refusal.
func (s *shares) enter(k shareKey, now time.Time) *stream.Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.have) >= maxShares {
		s.forget()
	}
	most := float64(s.each.DialsPerSecond)
	h := s.have[k]
	if h == nil {
		h = &share{dials: most, at: now}
		s.have[k] = h
	}
	h.dials = min(most, h.dials+now.Sub(h.at).Seconds()*most)
	h.at = now
	switch {
	case s.each.Streams > 0 && h.open >= s.each.Streams:
		return &stream.Refusal{Code: stream.CodeTooManyStreams, Text: "this address has its share of the node's streams"}
	case most > 0 && h.dials < 1:
		return &stream.Refusal{Code: stream.CodeTooManyDials, Text: "this address has its share of the node's dials a second"}
	}
	h.dials--
	h.open++
	return nil
}

func (s *shares) leave(k shareKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.have[k].open--
}

// forget drops everybody who has nothing open.
func (s *shares) forget() {
	for k, h := range s.have {
		if h.open == 0 {
			delete(s.have, k)
		}
	}
}
