// SPDX-License-Identifier: Apache-2.0

// Package socket is the agent's end of the socket that magpie-cni calls.
//
// # Model
//
//	Accept -> read one request -> wait for a worker -> Handle -> write one answer
//	             |                                       ^
//	             +-- caller gone: the context ends ------+
//
// # Why this way
//
// It is apart from cni/shim so that the executable does not link package net.
// A limit on calls in flight keeps a node that starts a hundred pods at once
// from having a hundred threads in the kernel's one routing lock; calls beyond
// it wait, and those whose caller gives up leave the queue. The workers live as
// long as the server: each netlink answer is read into 64 KiB on the stack, and a
// goroutine that is new with every call would grow its stack to that, step by
// step, with every call.
//
// # Invariants
//
// A caller that goes away never leaves a goroutine. Serve returns when every
// call has ended. An answer that could not be delivered is reported, so that
// an ADD whose runtime died is undone at once and not by a later collection.
//
// # Not here
//
// The frames (cni/shim) and the verbs (cni).
package socket
