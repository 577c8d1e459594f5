// SPDX-License-Identifier: Apache-2.0

// Package agent tests the hub as the product has it: magpie-agent and magpiectl
// as they are built, the chart's rights, a real API server, real callers.
//
// # Model
//
//	kube-apiserver <- magpie-agent run -> mag-hub, /var/lib/magpie/hub
//	                        ^    ^
//	      host.kubeconfig --+    +-- pod.kubeconfig, coredns.conf: from a network
//	                                 namespace, as a pod's
//
// # Why this way
//
// Whether a pod reaches an address on the node, a kubeconfig leads somewhere and
// an account has the rights it needs shows only where all of them meet.
//
// # Invariants
//
// Everything is in namespaces of the test's own. Without the programs that the
// lab builds the tests are skipped, with MAGPIE_TEST_STRICT=1 they fail.
//
// # Not here
//
// What the hub answers, in every form (test/hub/clients).
package agent
