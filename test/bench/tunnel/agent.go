// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// agentJob is what a process with agents is told.
type agentJob struct {
	Authority authority `json:"authority"`
	Port      int       `json:"port"` // of the gateway
	Name      string    `json:"name"`
	Count     int       `json:"count"` // agents; the names of several end in numbers
	Procs     int       `json:"procs,omitempty"`
	Frugal    bool      `json:"frugal,omitempty"`
	Profile   string    `json:"profile,omitempty"`
}

// Agent is the role of one agent or of many: it answers "true" when it has
// begun to dial.
func Agent(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var job agentJob
	if err := json.Unmarshal(arg, &job); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	prepare(job.Procs, job.Frugal)
	if err := profile(job.Profile); err != nil {
		return err
	}
	roots, _, err := job.Authority.pool()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i := range job.Count {
		name := job.Name
		if job.Count > 1 {
			name += fmt.Sprint("-", i)
		}
		cert, err := job.Authority.issue(name)
		if err != nil {
			return err
		}
		newAgent(name, at(cloudAddr, job.Port), &tls.Config{
			RootCAs: roots, ServerName: serverName, MinVersion: tls.VersionTLS13,
			NextProtos: []string{stream.ProtoAgent}, Certificates: []tls.Certificate{*cert},
		}).run(ctx)
	}
	fmt.Fprintln(out, "true")
	<-stop
	return nil
}

// agent keeps one connection, and a second one while there are streams.
type agent struct {
	addr   string
	config *tls.Config
	server *stream.Server
	busy   chan struct{}
}

func newAgent(name, addr string, config *tls.Config) *agent {
	a := &agent{addr: addr, config: config, busy: make(chan struct{}, 1)}
	a.server = stream.NewServer(stream.ServerOptions{
		Name: name, Now: time.Now, Allow: stream.Allow{Ports: []uint16{servicePort}}.Check,
		Limits: stream.Limits{Streams: 5000, DialsPerSecond: 5000},
		Dial: func(ctx context.Context, c stream.Call) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", at("127.0.0.1", int(c.Target.Port)))
		},
		OnBusy: func() {
			select {
			case a.busy <- struct{}{}:
			default:
			}
		},
	})
	return a
}

func (a *agent) run(ctx context.Context) {
	go a.keep(ctx)
	go func() {
		select {
		case <-a.busy:
			a.keep(ctx)
		case <-ctx.Done():
		}
	}()
}

// keep dials again and again, less often while that fails.
func (a *agent) keep(ctx context.Context) {
	const first, most = 500 * time.Millisecond, 8 * time.Second
	for pause := first; ctx.Err() == nil; {
		if a.once(ctx) {
			pause = first
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, most)
	}
}

// once dials, serves, and reports whether there was anything to serve.
func (a *agent) once(ctx context.Context) bool {
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	raw, err := new(net.Dialer).DialContext(dialing, "tcp", a.addr)
	if err != nil {
		return false
	}
	conn := tls.Client(wire.Tune(raw), a.config)
	if err := conn.HandshakeContext(dialing); err != nil {
		_ = raw.Close()
		return false
	}
	_ = a.server.Serve(ctx, conn)
	return true
}
