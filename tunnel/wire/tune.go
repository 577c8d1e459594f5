// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"net"
	"runtime"
	"syscall"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// unsent is how many bytes may wait in the kernel that the line has not taken
// yet. Whatever waits there can not be overtaken by a keystroke, and without a
// bound it is megabytes: seconds, on a site's line. What is on its way does not
// count, so long lines stay full.
const unsent = 128 << 10

// tcpNotSentLowAt is the socket option for it. Source: Linux tcp(7),
// include/uapi/linux/tcp.h.
const tcpNotSentLowAt = 25

// Tune prepares a socket for the TLS connection of a tunnel and returns what to
// put TLS on. One that is no TCP socket is only wrapped.
func Tune(conn net.Conn) net.Conn {
	socket := conn
	for {
		under, ok := socket.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		socket = under.NetConn()
	}
	if s, ok := socket.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			// A kernel that knows no such option works as well, only slower.
			_ = raw.Control(func(fd uintptr) {
				_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotSentLowAt, unsent)
			})
		}
	}
	return stream.Batch(conn)
}

// spare is how many threads Spread adds.
const spare = 2

// Spread lets Go run a few more threads than there are CPUs. A stream that
// carries much keeps two goroutines at work without a pause, and while all of
// Go's threads are, none looks for what has come from the network: up to 10 ms,
// for a keystroke. The kernel shares CPUs out more finely than that. Called
// once, by main, of a process whose work is to carry.
func Spread() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + spare) }
