// SPDX-License-Identifier: Apache-2.0

// Package hub measures what it costs to read Services through the hub, and what
// it saves.
//
// # Model
//
//	                  etcd, kube-apiserver, magpie-manager
//	                    ^                           ^
//	          relay ----+                           +---- relay     both count
//	node n-0000 |                       node n-0020 |
//	      magpie-agent                              |
//	            ^                                   |
//	 kube-proxy, CoreDNS, ingress        kube-proxy, CoreDNS, ingress
//
// Two nodes, each a network namespace. One's clients read through its agent's
// hub, the other's from the API server. All programs are the real ones, but for
// the ingress controller, which is client-go's informers as such controllers
// make them, in JSON.
//
//	endpoint p50, p99   from the write of an EndpointSlice to the rule in the
//	                    node's kernel, both nodes on the same writes
//	watched             bytes that the API server sends to each node, the same
//	                    changes for both
//	memory              the agent's with the hub, beside the same agent without
//	                    it, with 5,000 Services, 50,000 endpoints, 1,000 nodes in
//	                    50 pools
//	first list          of Services and EndpointSlices there
//	relabelled node     from the write of a Node's pool label, through manager and
//	                    agent, to the last event that a watch on the hub gets
//
// # Why this way
//
// Rules are seen by the kernel's own notifications, not by listing tables again
// and again: listing takes longer than what is measured. kube-proxy waits a
// second between two rounds by default; here it waits a millisecond on both
// nodes, or its pause would hide everything else. The two kube-proxies share the
// machine, and the direct one hears first: what it does then is in our time.
//
// Bytes are those of TLS records, both of the answers and of their framing,
// without the headers of TCP, which are alike.
//
// # Invariants
//
// Everything is in namespaces of the benchmark's own and dies with it.
//
// # Not here
//
// Whether the answers are right (test/hub).
package hub
