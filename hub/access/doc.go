// SPDX-License-Identifier: Apache-2.0

// Package access says who a caller of the hub is and what he may read.
//
// # Model
//
//	token --TokenReview--> User --SubjectAccessReview--> may / may not
//	            |                          |
//	            +---- remembered, and kept on disk ----+
//
// A Reviewer asks the API server, with the agent's own credentials, and
// remembers its answers: a yes for two minutes, a no for ten seconds.
//
// # Why this way
//
// The hub holds what the agent may read, so it must not hand that to whoever
// can reach loopback. Only the API server knows who may; a list of our own
// would be a second policy that nobody audits.
//
// While the API server does not answer, its last yes holds on for the grace: a
// kube-proxy that restarts on a site without its line must come up. So for that
// long a token or a right that was withdrawn still reads Services there, and
// nothing else.
//
// # Invariants
//
// No token is stored, in memory or on disk, only its SHA-256. What was never
// answered is refused, grace or not. Nobody waits for an API server that has
// just not answered if there is an answer of before. A flood of bad tokens
// drives out other bad ones first.
//
// # Not here
//
// What the callers read (hub), and HTTP (hub/serve).
package access
