// SPDX-License-Identifier: Apache-2.0

// Package identity says who is at the end of a tunnel's TLS connection, and who
// may be given a certificate that says so.
//
// # Model
//
//	agent, gateway                 API server            magpie-manager
//	NewKey, NewRequest --CSR--> CertificateSigningRequest --> Judge
//	                                                          | approved
//	Judged by Verify <------- status.certificate <------- Authority.Sign
//
// A certificate names a node (CN, and the UID of its Node object in a URI), a
// gateway instance (CN, and the DNS names that agents verify), or a caller of
// an entry. Who is what is read back from one. The authority is our own and
// signs nothing else, so a certificate of the cluster's CA opens no tunnel.
//
// # Why this way
//
// A request does not prove who makes it; the API server does. It writes the
// requester's account, and the node that its token is bound to, into the
// CertificateSigningRequest, where nobody can change them. Judge compares those
// with the name asked for, so an agent that was broken into can become no other
// node. What is signed is made from the verdict alone: nothing of the request
// but its public key is copied.
//
// Rotation is make before break: the next authority is in the bundle that all
// trust before it signs, and the last one stays until what it signed has ended.
//
// # Invariants
//
// Everything is a function of its arguments: time, randomness and keys are
// handed in. A certificate with two roles, or one that is not exactly what Sign
// makes, is nobody's.
//
// # Not here
//
// The API and the disk (cluster), TLS settings (tunnel/wire), what one may do
// with a stream (tunnel/stream).
package identity
