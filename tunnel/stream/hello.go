// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// Hello is what a gateway says first on a connection, and again when it has
// changed: so an agent behind a load balancer knows whom it reached, and whom
// it has yet to reach.
type Hello struct {
	// Instance is the gateway's name.
	Instance string `json:"instance"`
	// Instances are the names of all gateways, this one included.
	Instances []string `json:"instances,omitempty"`
	Version   string   `json:"version,omitempty"`
}

// Answer is what the acceptor answers to Hello.
type Answer struct {
	Node     string   `json:"node,omitempty"`
	Version  string   `json:"version,omitempty"`
	Features []string `json:"features,omitempty"`
	// Via is the neighbour that carries this connection, "address:port"; "" if
	// the agent has a way out of its own.
	Via string `json:"via,omitempty"`
}

// mostFeatures is how many are believed.
const mostFeatures = 32

// printable is the answer with words that can be shown to a person: an agent
// whose machine was stolen says what it likes, and terminals obey.
func (a Answer) printable() Answer {
	out := Answer{Node: printable(a.Node), Version: printable(a.Version), Via: printable(a.Via)}
	for _, f := range a.Features[:min(len(a.Features), mostFeatures)] {
		out.Features = append(out.Features, printable(f))
	}
	return out
}

// helloLimit bounds both, in bytes; helloTime how long they may take.
const (
	helloLimit = 64 << 10
	helloTime  = 10 * time.Second
)

var helloRequest = h2.Fields(":method", "POST", ":scheme", "https", ":authority", "magpie", ":path", helloPath)

// isHello reports whether a stream is one; every other GET or POST is nothing
// that this protocol knows.
func isHello(h h2.Header) bool {
	method, _ := h.Get(":method")
	path, _ := h.Get(":path")
	return method == "POST" && path == helloPath
}

// exchange writes mine and reads the far end's.
func exchange(s *h2.Stream, mine any, yours any) error {
	if err := say(s, mine); err != nil {
		return err
	}
	return hear(s, yours)
}

func say(s *h2.Stream, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write hello: %w", err)
	}
	if _, err := s.Write(b); err != nil {
		return fmt.Errorf("write hello: %w", err)
	}
	return s.CloseWrite()
}

func hear(s *h2.Stream, v any) error {
	b, err := io.ReadAll(io.LimitReader(s, helloLimit+1))
	if err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	return parseHello(b, v)
}

func parseHello(b []byte, v any) error {
	if len(b) > helloLimit {
		return fmt.Errorf("read hello: more than %d bytes", helloLimit)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read hello: %w", err)
	}
	return nil
}
