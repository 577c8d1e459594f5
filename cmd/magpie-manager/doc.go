// SPDX-License-Identifier: Apache-2.0

// Command magpie-manager decides who belongs where and tells every agent.
//
// # Model
//
//	run.go    the wiring: one door, three loops (gateways, slices, status)
//	report.go log, metrics and events
//
// # Why this way
//
// Each loop is a pure planner of package nodepool between the API and the API.
// They share one set of watches and wait for nobody: Slices does not read what
// the other two write except to remember the last election.
//
// # Invariants
//
// Only the leader writes. All replicas watch, so a new leader starts warm.
//
// # Not here
//
// Decisions: package nodepool. How the API is read and written: package cluster.
package main
