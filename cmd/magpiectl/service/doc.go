// SPDX-License-Identifier: Apache-2.0

// Package service is what magpiectl service reports: which endpoints of a
// Service each pool and node sees, where its NodePort is open, and why.
//
// # Model
//
//	Input (what the API says) --Build--> Report --Text--> people
//	                                        |
//	                                        +--JSON--> programs
//
// For each node the endpoints are those that topology.Pin leaves, and the
// NodePort is open where topology.Listens says so: the functions that filter
// what the node's kube-proxy reads.
//
// # Why this way
//
// A second implementation of the rules would be believed when it is wrong. The
// reason beside each answer is made here; a test holds it to the answer.
//
// # Invariants
//
// OK is true exactly if Problems is empty. While readers do not go through a
// hub the report says so first: what it shows would hold, and does not.
//
// # Not here
//
// Reading the API (magpiectl), the rules (package topology).
package service
