// SPDX-License-Identifier: Apache-2.0

// Package entry is how callers in the cloud get into the O&M tunnel.
//
// # Model
//
//	API server      -- CONNECT node:port --> Connect --+
//	API server      -- TLS, SNI = node ----> SNI ------+--> Roads --> a session here
//	Prometheus, ... -- GET ?nodeName= -----> HTTP -----+          --> a session of another gateway
//	                                                              --> a private line, directly
//
// An entry speaks the caller's protocol, learns whom the caller wants (a Wish)
// and joins its connection with the stream that Roads opens. Roads asks what
// the name means now, checks it against the lists, and takes the first way that
// works.
//
// # Why this way
//
// Three protocols, because three kinds of callers exist: a control plane whose
// flags are ours (EgressSelector), one that only resolves names (SNI), and
// programs that read over HTTP. Only the last one speaks for itself, so only
// there a token is looked at; Connect trusts a socket or a certificate, and SNI
// trusts nobody: the kubelet at the end of the stream authenticates, and until
// then such a caller can reach one port of nodes by name.
//
// # Invariants
//
// Nothing a caller sends is resolved by DNS or dialled as it stands. Whatever
// is read before it is known who speaks is bounded in bytes and in time. Each
// refusal is reported once, with a Code. TLS between a caller and the kubelet
// is opened by HTTP only, whose callers asked for that.
//
// # Not here
//
// Sessions and streams (tunnel/stream), listeners and certificates
// (tunnel/wire), what names mean (cluster), who may (the API server).
package entry
