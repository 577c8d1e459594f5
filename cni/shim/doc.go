// SPDX-License-Identifier: Apache-2.0

// Package shim carries one CNI call from the executable that the runtime
// starts to the agent that does the work.
//
// # Model
//
//	runtime --env, stdin--> magpie-cni --Request--> agent
//	runtime <-stdout, exit- magpie-cni <-Response-- agent
//
// A frame is four bytes of length, big-endian, one of format, and the fields in
// order: texts with their length before them, and what is last without one. One
// request and one response a connection; the executable closing its end early is how the agent
// learns that the runtime has given up.
//
// # Why this way
//
// The runtime starts the executable for every pod, and every five seconds for
// STATUS, so its start is most of what a call costs: it links nothing but the
// standard library, does not parse the configuration and knows no netlink.
// VERSION is answered here, because it must work before the agent runs. It does
// not even link package net, whose start-up alone doubled the time of a run
// (2.3 ms to 1.3 ms); so the agent's end is a package of its own, cni/socket.
// For the same reason frames are no JSON, which touched 25 pages more a run.
//
// # Invariants
//
// Whatever happens, the executable prints one JSON document: the agent's, or an
// error with a CNI code and a sentence that says what to do. If the agent
// cannot be reached, the code is 11 (try again later) for every verb, DEL
// included: the runtime then repeats it and nothing is leaked.
//
// # Not here
//
// What the verbs do: package cni.
package shim
