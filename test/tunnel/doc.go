// SPDX-License-Identifier: Apache-2.0

// Package tunnel tests who gets into the O&M tunnel, with manager and gateway as
// they are shipped and a real API server.
//
// # Model
//
//	magpie-manager --signs--> API server <--asks-- agent (in the test)
//	      the binaries, with the chart's rights      |
//	caller --CONNECT--> magpie-gateway <====dials====+--> a kubelet's stand-in
//
// # Why this way
//
// Each part has tests of its own against fakes of its neighbours. What can only
// go wrong between them, who may come in and for how long, is tested here: it
// needs no network namespaces and takes seconds, where the lab takes minutes.
//
// # Invariants
//
// The agent has the token that a pod on its node would have, and nothing else.
//
// # Not here
//
// Kubelets and kubectl (test/e2e), throughput (test/bench/tunnel).
package tunnel
