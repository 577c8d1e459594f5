// SPDX-License-Identifier: Apache-2.0

// Package cert makes the certificate under which a node's hub is reached.
//
// # Model
//
//	authority.pem (0600)  one or two authorities with their keys, of this node
//	    | signs                     | without the keys
//	serving.pem (0600)         ca.crt (0644), which callers trust
//
// A Keeper makes what is missing, renews the certificate when a third of its
// life is left, and makes a second authority long before the first one ends.
//
// # Why this way
//
// The hub is on loopback, its callers are on the same node and read ca.crt from
// its disk: an authority of the cluster would add a way for it to be down and
// nothing else. Most callers read ca.crt once, when they start. So the next
// authority stands in it for half a year before it signs, and the old one until
// it ends.
//
// A node without a battery for its clock starts in 1970, without an API server
// and without a time server. Certificates begin in 1970, and what is signed
// then is signed as if it were 2026, so that nothing ends when the clock wakes.
//
// # Invariants
//
// A private key never leaves a file of mode 0600. Files are replaced whole. A
// handshake never fails because a certificate was not renewed in time.
//
// # Not here
//
// Who may come in (hub/access). The certificates of the tunnel, which the
// cluster's manager issues (cluster, tunnel/identity).
package cert
