// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Kinds of target, as a prober's arguments spell them: "pod=10.42.1.5:4242".
const (
	KindPod     = "pod"     // a server pod: TCP, UDP and full MTU
	KindName    = "name"    // a name to resolve, then TCP and UDP
	KindOutside = "outside" // TCP only
)

// Target is one thing to reach.
type Target struct{ Kind, Addr string }

func (t Target) String() string { return t.Kind + "=" + t.Addr }

// ParseTarget reads what String wrote.
func ParseTarget(s string) (Target, error) {
	kind, addr, ok := strings.Cut(s, "=")
	if _, _, err := net.SplitHostPort(addr); !ok || err != nil {
		return Target{}, fmt.Errorf("target %q: want KIND=HOST:PORT", s)
	}
	switch kind {
	case KindPod, KindName, KindOutside:
		return Target{kind, addr}, nil
	}
	return Target{}, fmt.Errorf("target %q: kind is pod, name or outside", s)
}

// atOnce bounds how many targets are probed at a time: latencies are of the
// network and not of a queue in this process.
const atOnce = 6

// Waits bound a prober's patience.
type Waits struct {
	Check   time.Duration // for each check of a target: long enough for a link that has to shake hands first
	Service time.Duration // for a name, from the first question to the first answer of what it stands for
}

// ServiceWait is how long a new Service may take to work. Who makes it work, the
// endpoint controller and kube-proxy, may be waiting for an API server that was
// away a moment ago: for so long at most.
// Source: the longest pause of a reflector in client-go, tools/cache.
const ServiceWait = 30 * time.Second

// Run probes every target and returns a Check for each.
func Run(ctx context.Context, targets []Target, wait Waits) Report {
	r := Report{Checks: make([]Check, len(targets))}
	var mu sync.Mutex // guards r
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, t := range targets {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			o := one(ctx, t, wait)
			mu.Lock()
			defer mu.Unlock()
			r.Checks[i] = Check{
				TCP: micros(o.tcp), UDP: micros(o.udp), DNS: micros(o.dns), MTU: o.mtu, Passes: o.passes,
				TCPErr: fault(&r.Errors, o.tcpErr), UDPErr: fault(&r.Errors, o.udpErr), DNSErr: fault(&r.Errors, o.dnsErr), MTUErr: fault(&r.Errors, o.mtuErr),
			}
		})
	}
	wg.Wait()
	return r
}

// micros rounds up, so that something measured is never 0.
func micros(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d + time.Microsecond - 1) / time.Microsecond)
}

// outcome is a Check before errors are numbers.
type outcome struct {
	tcp, udp, dns                  time.Duration
	mtu, passes                    int
	tcpErr, udpErr, dnsErr, mtuErr error
}

func one(ctx context.Context, t Target, wait Waits) outcome {
	var o outcome
	addr := t.Addr
	ready := wait.Check // how long until it works at all
	if t.Kind == KindName {
		end := now().Add(wait.Service)
		if addr, o.dns, o.dnsErr = resolve(ctx, addr, wait.Service); o.dnsErr != nil {
			return o
		}
		ready = max(wait.Check, end.Sub(now()))
	}
	o.tcp, o.tcpErr = tcp(ctx, addr, t.Kind != KindOutside, ready)
	if t.Kind == KindOutside {
		return o
	}
	o.udp, o.udpErr = udp(ctx, addr, wait.Check)
	if t.Kind == KindPod && o.udpErr == nil {
		o.mtu, o.passes, o.mtuErr = FullMTU(ctx, addr, wait.Check)
	}
	return o
}

// resolve asks the pod's own resolver, which is CoreDNS, until it answers or
// wait is over: it is behind a Service, too. How long says the last attempt.
func resolve(ctx context.Context, addr string, wait time.Duration) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("resolve %s: %w", addr, err)
	}
	reason := ""
	for {
		start := now()
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err == nil {
			return net.JoinHostPort(ips[0].Unmap().String(), port), now().Sub(start), nil
		}
		reason = telling(reason, err)
		if !sleep(ctx, 500*time.Millisecond) {
			return "", 0, fmt.Errorf("resolve: %s", reason)
		}
	}
}

// tcp connects and, if the other side echoes, measures the best of three round
// trips; else how long connecting took. A refused or lost attempt is repeated
// until wait is over: a Service or a link may be a moment old.
func tcp(ctx context.Context, addr string, echoes bool, wait time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d net.Dialer
	reason := ""
	for {
		start := now()
		conn, err := d.DialContext(ctx, "tcp", addr)
		took := now().Sub(start)
		if err == nil && echoes {
			deadline, _ := ctx.Deadline()
			_ = conn.SetDeadline(deadline)
			took, err = trips(conn, 3)
		}
		if conn != nil {
			_ = conn.Close()
		}
		if err == nil {
			return took, nil
		}
		reason = telling(reason, err)
		if !sleep(ctx, 200*time.Millisecond) {
			return 0, errors.New(reason)
		}
	}
}

// udp is the same with datagrams, each of which may be lost.
func udp(ctx context.Context, addr string, wait time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", addr)
	if err != nil {
		return 0, errors.New(word(err))
	}
	defer conn.Close()
	reason := ""
	for {
		_ = conn.SetDeadline(now().Add(min(wait, 500*time.Millisecond)))
		took, err := trips(conn, 3)
		if err == nil {
			return took, nil
		}
		reason = telling(reason, err)
		if !sleep(ctx, 100*time.Millisecond) {
			return 0, errors.New(reason)
		}
	}
}

// trips sends n small messages one after the other and returns the fastest
// round trip.
func trips(conn net.Conn, n int) (best time.Duration, err error) {
	for i := range n {
		msg := fmt.Appendf(nil, "magpie probe %d %d", i, now().UnixNano())
		start := now()
		if _, err := conn.Write(msg); err != nil {
			return 0, err
		}
		if err := answer(conn, msg); err != nil {
			return 0, err
		}
		took := now().Sub(start)
		if best == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// answer waits for msg to come back. On a stream nothing else may; of
// datagrams, the answer to an earlier one that was given up may come late.
func answer(conn net.Conn, msg []byte) error {
	_, datagrams := conn.(net.PacketConn)
	back := make([]byte, len(msg))
	for {
		n, err := len(back), error(nil)
		if datagrams {
			n, err = conn.Read(back)
		} else {
			_, err = io.ReadFull(conn, back)
		}
		switch {
		case err != nil:
			return err
		case bytes.Equal(msg, back[:n]):
			return nil
		case !datagrams:
			return errors.New("the answer is another's")
		}
	}
}

func now() time.Time { return time.Now() } //nolint:forbidigo // a probe measures time

// sleep pauses; false means that ctx is over, or would be.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

// word makes an error short and the same for every target, so that the report
// holds it once.
func word(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such name"
	case errors.As(err, &dns) && dns.Server != "":
		return "no answer from " + dns.Server
	case errors.As(err, &dns):
		return silence
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF):
		return "closed by the other side"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return silence
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

// telling keeps what an earlier attempt was told when the last one was only cut
// short.
func telling(before string, err error) string {
	if after := word(err); before == "" || after != silence {
		return after
	}
	return before
}

// silence is the word for no word at all.
const silence = "no answer"

// device returns the MTU of the interface that holds an address.
func device(addr netip.Addr) (mtu int, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return 0, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue // it is gone meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr() == addr.Unmap().WithZone("") {
				return i.MTU, nil
			}
		}
	}
	return 0, fmt.Errorf("no interface has %s", addr)
}
