// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/test/bench/stage"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// Addresses in the two namespaces. A gateway gets the ports that follow its
// first one: for agents, for clients, for whoever counts sessions.
const (
	cloudAddr   = "10.0.0.1"
	edgeAddr    = "10.0.0.2"
	servicePort = 7000
)

// gatewayJob is what a gateway is told.
type gatewayJob struct {
	Authority authority `json:"authority"`
	Port      int       `json:"port"`
	OneCPU    bool      `json:"oneCPU,omitempty"`
	Frugal    bool      `json:"frugal,omitempty"` // gives memory back all the time
	Profile   string    `json:"profile,omitempty"`
}

func at(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }

// prepare does what the roles have in common.
func prepare(procs int, frugal bool) {
	if procs > 0 {
		runtime.GOMAXPROCS(procs)
	}
	if !frugal {
		return
	}
	go func() {
		for range time.Tick(500 * time.Millisecond) {
			debug.FreeOSMemory()
		}
	}()
}

// Gateway is the role of the gateway: it answers "true" when it listens.
func Gateway(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var job gatewayJob
	if err := json.Unmarshal(arg, &job); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	if job.OneCPU {
		if err := stage.Confine(0); err != nil {
			return err
		}
		runtime.GOMAXPROCS(1)
	}
	wire.Spread()
	prepare(0, job.Frugal)
	if err := profile(job.Profile); err != nil {
		return err
	}
	cert, err := job.Authority.issue(serverName)
	if err != nil {
		return err
	}
	verify, err := job.Authority.verifier()
	if err != nil {
		return err
	}
	sessions := stream.NewSessions(stream.SessionsOptions{
		Allow: stream.Allow{Ports: []uint16{servicePort}}.Check, Now: time.Now,
		Limits: stream.Limits{Streams: 5000, DialsPerSecond: 5000},
		Hello:  func() stream.Hello { return stream.Hello{Instance: "bench"} },
	})
	door := &wire.Door{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil },
		Verify:      verify, Now: time.Now,
		Handle: map[string]func(context.Context, net.Conn, stream.Far){
			stream.ProtoAgent: func(ctx context.Context, c net.Conn, far stream.Far) { _ = sessions.Serve(ctx, c, far) },
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for i, serve := range []func(net.Listener){
		func(l net.Listener) { _ = door.Serve(ctx, l) },
		func(l net.Listener) { accept(l, func(c net.Conn) { enter(ctx, sessions, c) }) },
		func(l net.Listener) { accept(l, func(c net.Conn) { count(sessions, c) }) },
	} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", at(cloudAddr, job.Port+i))
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		go serve(l)
	}
	fmt.Fprintln(out, "true")
	<-stop
	return nil
}

func accept(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go handle(c)
	}
}

// enter serves a client, which names the node in one line.
func enter(ctx context.Context, sessions *stream.Sessions, c net.Conn) {
	// The client waits for an answer before it says more, so that nothing of
	// what follows is in the reader's buffer.
	node, err := bufio.NewReaderSize(c, 64).ReadString('\n')
	near, ok := c.(stream.Conn)
	if err != nil || !ok {
		_ = c.Close()
		return
	}
	call := stream.Call{Target: stream.Target{Node: strings.TrimSpace(node), Port: servicePort}, Caller: "bench"}
	far, err := sessions.Open(ctx, call)
	if err != nil {
		fmt.Fprintln(c, err)
		_ = c.Close()
		return
	}
	fmt.Fprintln(c, "ok")
	_, _, _ = stream.Splice(ctx, near, far, time.Now)
}

// count tells how many sessions and streams there are, line by line as asked.
func count(sessions *stream.Sessions, c net.Conn) {
	defer c.Close()
	for lines := bufio.NewScanner(c); lines.Scan(); {
		var streams, conns int
		list := sessions.List()
		for _, s := range list {
			streams += s.Streams
			conns += s.Conns
		}
		fmt.Fprintln(c, len(list), conns, streams)
	}
}
