// SPDX-License-Identifier: Apache-2.0

// Package v1beta2 is the NodePool of OpenYurt as its users write it.
//
// # Model
//
// A NodePool is a set of nodes with something in common: mostly that they
// stand in one site and reach each other. A node is in the pool that its label
// apps.openyurt.io/nodepool names.
//
// # Why this way
//
// Fields, spelling and meaning are OpenYurt's. What OpenYurt checks in a
// webhook the CRD checks with CEL rules.
//
// # Invariants
//
// type, hostNetwork and interConnectivity never change after creation.
// v1beta2 is what is stored.
//
// # Not here
//
// Leaders of a pool: the fields are kept for OpenYurt's hub and not used.
//
// +groupName=apps.openyurt.io
// +kubebuilder:object:generate=true
package v1beta2
