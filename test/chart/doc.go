// SPDX-License-Identifier: Apache-2.0

// Package chart tests charts/magpie: what Helm renders from it, what the
// binaries and a real API server say to that, and what an agent may do.
//
// # Model
//
//	values --helm--> manifests --+--> goldens
//	                             +--> agent.yaml, manager.yaml --> the binaries
//	                             +--> API server --> as an agent: try, be denied
//
// # Why this way
//
// A chart is a program that nobody compiles. Its faults (a field that does not
// exist, a rule that denies nothing) show on a customer's cluster unless a real
// API server has seen them first.
//
// # Invariants
//
// helm and kube-apiserver are the real ones that the lab builds (make deps).
// Without them the tests are skipped, with MAGPIE_TEST_STRICT=1 they fail.
//
// # Not here
//
// Running pods: the lab installs the chart.
package chart
