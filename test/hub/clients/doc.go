// SPDX-License-Identifier: Apache-2.0

// Package clients tests the hub of a node with a real API server behind it and
// real clients before it.
//
// # Model
//
//	tests ---------------------------> etcd, kube-apiserver
//	  |                                   ^
//	  +--client-go, kubectl, kube-proxy--> hub
//
// All in network namespaces of the test's own, where kube-proxy may write its
// rules.
//
// # Why this way
//
// The hub must be like an API server to its clients. What that means is said by
// an API server and by the clients: the same question goes to both, and the
// answers are compared.
//
// # Invariants
//
// Everything runs on 127.0.0.1 of a namespace that ends with the tests.
//
// # Not here
//
// The filter and the journal by themselves (hub, test/hub), the protocol in its details
// (hub/serve), nodes and pods (test/e2e).
package clients
