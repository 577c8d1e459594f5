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
//	API server away, token never seen:
//	token --signed with one of its keys, valid now--> bearer --remembered?--> User
//
// A bearer is what the tokens of one pod have in common: issuer, audiences,
// account, pod. The kubelet renews a pod's token every hour or so; one that it
// has fetched just before the line was cut is known by the one before it.
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
// A new token is believed then for the API server's signature, which is read
// from its published keys while it answers, and only of a bearer whose last
// token it accepted within the grace. So a signature alone opens nothing: it
// gives a bearer what he had. What can not be seen is what an API server would
// look up: that the pod or the account was deleted meanwhile. Of tokens without
// a signature to check, of issuers before the present one that left no key, and
// where the keys are not published (an issuer that is no https address),
// new ones stay unknown.
//
// # Invariants
//
// No token is stored, in memory or on disk, only its SHA-256. What was never
// answered is refused, grace or not; a bearer whose last token the API server
// refused is one that was never answered. Nobody waits for an API server that has
// just not answered if there is an answer of before. A flood of bad tokens
// drives out other bad ones first.
//
// # Not here
//
// What the callers read (hub), and HTTP (hub/serve).
package access
