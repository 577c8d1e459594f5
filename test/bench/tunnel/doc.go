// SPDX-License-Identifier: Apache-2.0

// Package tunnel measures the O&M tunnel against TCP that is not tunnelled.
//
// # Model
//
//	cloud (namespace)                          edge (namespace)
//	client --> gateway ==TLS, over a veth==> agent --> service on loopback
//	client ----------- TCP, over the veth -----------> service
//
// Gateway and agent are processes of their own and do what magpie-gateway and
// magpie-agent do: wire.Door with certificates of both sides, stream.Sessions,
// stream.Server, stream.Splice. The client asks the gateway in one line which
// node it wants.
//
// # Why this way
//
// What an operator feels is a download, a keystroke, and a keystroke beside a
// download: so those are measured, as ratios to a direct connection or in
// microseconds. A person's keystroke comes alone, so echoes are 64 bytes, one
// after the other.
//
// Memory is what a process has resident after it gave back what it does not
// use; Go would do so by itself within minutes. What 1,000 idle streams add,
// divided by 1,000; likewise 5,000 agents.
//
// The storm is a gateway that has one core and starts again: 5,000 agents,
// which all share the other core, notice at once and come back.
//
// # Invariants
//
// Every run is bounded in time.
//
// # Not here
//
// Where the processes run (stage).
package tunnel
