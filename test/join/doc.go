// SPDX-License-Identifier: Apache-2.0

// Package join tests magpiectl join and leave against a real API server: what
// they ask, what they write, and what the bearer of a token may do then.
//
// # Model
//
//	kubeconfig --> magpiectl join --> script, Secret, ClusterRoleBindings
//	                                    |
//	               its token as a machine uses it: a certificate, nothing else
//
// # Why this way
//
// The script's own checks are tested in nodepool/join on machines made of
// namespaces. What only an API server can say is whether its token opens the
// right door, and no other.
//
// # Invariants
//
// magpiectl runs as a process, as an operator runs it.
//
// # Not here
//
// Real kubelets: the lab joins its nodes with this script.
package join
