// SPDX-License-Identifier: Apache-2.0

// Package h2 is one HTTP/2 connection (RFC 9113) that carries byte streams.
//
// # Model
//
//	Conn    one connection; Run reads it, whoever has its turn writes
//	Stream  a net.Conn inside of it, opened by Open at one end and given to
//	        Accept at the other
//	Budget  what all streams of one far end may make us hold in memory
//
// Credit, which HTTP/2 calls a window, is given for each stream alone. It
// starts small and doubles while the reader is what keeps up and the far end
// is what waits, as long as the Budget has room. Credit of the connection as a
// whole is so large that it never binds: that would let one reader stop others.
//
// # Why this way
//
// Of HTTP/2 we need its frames, its credit and its pings, and both roles alike;
// of net/http and golang.org/x/net/http2 we would get requests and bodies. They
// cap windows at 4 MiB or have them fixed, are deprecated (x/net's Server),
// pass each byte through two more goroutines and copies, and hold 10 kB more a
// stream. What is on the wire is HTTP/2 all the same: the tests talk to net/http
// in both roles.
//
// There is no goroutine that writes. A writer waits for its turn, short frames
// before long ones; whoever finds the connection free writes by itself, which
// saves a switch on the way of every keystroke. Frames of control queue up and
// go out with the next turn. The reading goroutine never waits to write, so two
// ends can not wait for each other; what a socket at the end of a stream takes
// at once, it gives it.
//
// A frame is no longer than what the line took in the last few milliseconds, so
// that a bulk stream on a slow line does not delay its neighbours by seconds. On
// a line that is faster than the CPUs it pauses for them instead: see Courtesy.
//
// # Invariants
//
// A far end that breaks the protocol, floods or does not read loses its
// connection; it never makes us hold more than the Budget and a fixed sum for
// each stream. Whatever ends a connection ends its streams at once, with the
// reason in their errors.
//
// # Not here
//
// What streams are for, who may open them, and how many a second (package
// stream).
package h2
