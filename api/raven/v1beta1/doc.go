// SPDX-License-Identifier: Apache-2.0

// Package v1beta1 is the Gateway of Raven as its users write it.
//
// # Model
//
// A Gateway stands for one network domain. Its endpoints are the nodes that
// may carry the domain's links; its status names the elected ones and every
// node of the domain with its pod CIDRs.
//
// # Why this way
//
// The fields, their JSON spelling (Replicas with a capital R) and their
// meaning are Raven's, so that a manifest written for Raven works unchanged.
// What Raven checks in a webhook the CRD checks with CEL rules: the API server
// then refuses a wrong Gateway although no part of ours runs.
//
// # Invariants
//
// v1beta1 is what is stored. No default fills a field that Raven leaves unset:
// an unset tunnelConfig.Replicas means that the tunnel is off.
//
// # Not here
//
// Election and what follows from it: package nodepool.
//
// +groupName=raven.openyurt.io
// +kubebuilder:object:generate=true
package v1beta1
