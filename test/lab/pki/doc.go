// SPDX-License-Identifier: Apache-2.0

// Package pki makes the keys and certificates of the lab's control plane: what
// kubeadm makes, for a cluster that lives a day.
//
// # Model
//
// A CA is a folder with NAME.crt and NAME.key; Issue adds FILE.crt and FILE.key
// to it.
//
// # Why this way
//
// With the standard library this is shorter than calling a tool, and needs
// none on the host.
//
// # Invariants
//
// Everything is written once and kept, so that a lab which is brought up again
// after a crash still trusts its own nodes.
//
// # Not here
//
// Kubeconfigs: package lab. Certificates of nodes: kube-controller-manager
// signs them, as in any cluster.
package pki
