// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Application protocols of the TLS connections (ALPN, RFC 7301).
const (
	// ProtoAgent is spoken on a connection that an agent dialled: the agent is
	// the HTTP/2 server on it.
	ProtoAgent = "magpie-agent/1"
	// ProtoPeer is spoken on a connection that a gateway dialled to another: the
	// acceptor is the HTTP/2 server on it.
	ProtoPeer = "magpie-peer/1"
)

// Target is where a stream shall end.
type Target struct {
	// Node whose agent dials.
	Node string
	// Addr is a pod of that node; the zero Addr is the node itself, which its
	// agent reaches on loopback.
	Addr netip.Addr
	Port uint16
}

// String is "shop-a-1:10250" for a node and "10.1.2.3:8443@shop-a-1" for a pod.
func (t Target) String() string {
	if !t.Addr.IsValid() {
		return net.JoinHostPort(t.Node, strconv.Itoa(int(t.Port)))
	}
	return netip.AddrPortFrom(t.Addr, t.Port).String() + "@" + t.Node
}

// Call is one wish for a stream.
type Call struct {
	Target Target
	// Caller is who asked, as an entry established it: for the audit line only.
	Caller string
}

// Conn is one stream. Either direction can be closed alone, as with TCP.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// Far is who is at the other end of a connection, as its certificate proved.
type Far struct {
	// Name of the node, or of the gateway instance.
	Name string
	// UID of the Node object when the certificate was issued; "" for a gateway.
	UID string
	// Expires is the certificate's end; no stream is opened on the connection
	// after it.
	Expires time.Time
}

// Limits bound what one node can cost. The zero value of a field means its
// default.
type Limits struct {
	// Streams open at once, a node. Default 1000.
	Streams int
	// DialsPerSecond, a node, with bursts of as many. Default 100.
	DialsPerSecond int
	// Buffered bytes in memory for all streams of a node. Default 64 MiB.
	Buffered int64
	// Dial is how long opening a stream may take. Default 10 s.
	Dial time.Duration
	// Ping is how long a silent connection waits before it is probed; three
	// probes without an answer end it. Default 10 s.
	Ping time.Duration
}

// Code says why a stream was refused or has ended. Codes are metric labels and
// words of the audit line.
type Code string

// Codes of refusals and ends.
const (
	CodeDone            Code = "done"             // both sides closed it
	CodeReset           Code = "reset"            // one side or the session broke
	CodeNoSession       Code = "no-session"       // no agent of that node is connected anywhere
	CodeNotAllowed      Code = "not-allowed"      // port or address not on the list
	CodeWrongNode       Code = "wrong-node"       // the stream was meant for another node
	CodeDialFailed      Code = "dial-failed"      // the node's side refused the connection
	CodeDialTimeout     Code = "dial-timeout"     // the node's side did not answer in time
	CodeTooManyStreams  Code = "too-many-streams" // Limits.Streams
	CodeTooManyDials    Code = "too-many-dials"   // Limits.DialsPerSecond
	CodeDraining        Code = "draining"         // this end is shutting down
	CodeBadRequest      Code = "bad-request"      // not a request that this protocol knows
	CodeUnauthenticated Code = "unauthenticated"  // an entry's caller without credentials
	CodeForbidden       Code = "forbidden"        // an entry's caller without the right
)

// Refusal is the error of a stream that was not opened.
type Refusal struct { //nolint:errname // it is a value that travels first, an error second
	Code Code
	Text string // for a person: what was refused and what to do
}

// Error is the code and the text.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Text }

// Record is the end of one stream, for metrics and the audit line.
type Record struct {
	Call   Call
	Opened time.Time
	Took   time.Duration
	// Sent went towards the target, Received came from it, in bytes.
	Sent, Received int64
	// Stalled is how long the stream waited for a reader that did not read.
	Stalled time.Duration
	Code    Code
	Err     error // nil for CodeDone
}
