// SPDX-License-Identifier: Apache-2.0

package fence

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/sandbox"
)

// From is somewhere that calls come from: the path of a namespace, or "" for
// the node itself.
type From string

// Calls returns what a TCP call meets: "open", "refused" (a reset) or an error.
func (f From) Calls(addr string) string {
	return f.at(func() string {
		c, err := (&net.Dialer{Timeout: 2 * time.Second}).Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return met(err)
	})
}

// Asks returns what a UDP datagram meets: also "not permitted", which only a
// sender on the node itself is told.
func (f From) Asks(addr string) string {
	return f.at(func() string {
		c, err := net.Dial("udp", addr) //nolint:noctx // does not wait
		if err != nil {
			return met(err)
		}
		defer c.Close()
		err = c.SetDeadline(time.Now().Add(2 * time.Second))
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		if err == nil {
			_, err = c.Read(make([]byte, 16))
		}
		return met(err)
	})
}

// met says what a caller has met, by what its socket returns.
func met(err error) string {
	switch {
	case err == nil:
		return "open"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(err, syscall.EPERM):
		return "not permitted"
	default:
		return err.Error()
	}
}

func (f From) at(ask func() string) string {
	if f == "" {
		return ask()
	}
	out, err := sandbox.At(string(f), func() (string, error) { return ask(), nil })
	if err != nil {
		return err.Error()
	}
	return out
}

// World is the node with a pod and a neighbour on its network, each in a
// namespace; the pod serves 8080 on TCP and UDP.
func World(tb testing.TB) (outside, pod From) {
	tb.Helper()
	outPath, podPath := sandbox.Namespace(tb, "outside"), sandbox.Namespace(tb, "pod")
	sandbox.Run(tb, `
ip link add lan type veth peer name eth0 netns outside
ip address add 10.9.0.1/24 dev lan
ip -6 address add fd09::1/64 dev lan nodad
ip link set lan up
ip -n outside address add 10.9.0.2/24 dev eth0
ip -n outside -6 address add fd09::2/64 dev eth0 nodad
ip -n outside link set eth0 up
ip -n outside link set lo up
ip -n outside route add default via 10.9.0.1
ip link add cable type veth peer name eth0 netns pod
ip address add 10.42.1.254/24 dev cable
ip -6 address add fd42::fe/64 dev cable nodad
ip link set cable up
ip -n pod address add 10.42.1.1/24 dev eth0
ip -n pod -6 address add fd42::1/64 dev eth0 nodad
ip -n pod link set eth0 up
ip -n pod link set lo up
ip -n pod route add default via 10.42.1.254
ip -n pod -6 route add default via fd42::fe
ip route add default via 10.9.0.2
sysctl -qw net.ipv4.ip_forward=1
sysctl -qw net.ipv4.icmp_ratelimit=0
sysctl -qw net.ipv6.icmp.ratelimit=0
`)
	tb.Cleanup(func() { sandbox.Run(tb, "ip link delete lan\nip link delete cable") })
	sandbox.Echo(tb, podPath, "0.0.0.0:8080")
	return From(outPath), From(podPath)
}
