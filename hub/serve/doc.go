// SPDX-License-Identifier: Apache-2.0

// Package serve is the hub as an API server: HTTP, encodings, callers.
//
// # Model
//
//	caller --TLS--> route --a kind of the hub, to be read--> who, may --> list, get, watch --> Store
//	                  |
//	                  +--anything else------------------> passed to the API server as it is
//
// A question is what a request asks of the hub, a form is how its answer is to
// be written. A watch reads the Store's journal at the speed of its caller.
//
// # Why this way
//
// kube-proxy, CoreDNS and kubectl must not be able to tell the hub from an API
// server. So parameters are read and checked by the very code that API servers
// use for it (apimachinery's meta/internalversion), objects are encoded by
// theirs, and tests put the same question to both and compare the answers.
//
// What is filtered is never also to be had unfiltered: a request for a kind of
// the hub is answered from the Store or refused, also when the Store knows
// nothing yet, the form is unknown or the caller impersonates. Only writes and
// subresources of these kinds pass, because they need the API server's answer.
//
// # Invariants
//
// Nothing is answered before the API server, or its answer of before, has said
// that the caller may. A passed request carries the caller's credentials and
// none of ours. Versions in lists and watches are the hub's (ADR 15); only the
// answer to a get carries the API server's. A caller that does not read holds a
// connection and no memory, and not for long.
//
// # Not here
//
// What is shown (hub), who may (hub/access), the certificate (hub/cert).
package serve
