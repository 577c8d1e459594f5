// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the older form of Raven's Gateway: it is served so that
// old manifests are accepted, and nothing of ours reads it.
//
// # Model
//
// The same object as v1beta1 with fewer fields: every endpoint is a tunnel
// endpoint on port 4500 and one of them is active.
//
// # Why this way
//
// Raven converts between the versions in a webhook. We relabel instead
// (conversion strategy None), because a webhook that is down would make every
// Gateway unreadable. Two things make that safe: fields of v1beta1 that this
// version does not know are preserved, not pruned; and an endpoint without a
// type, which only this version allows, is read as a tunnel endpoint by package
// nodepool.
//
// # Invariants
//
// This version is never stored.
//
// # Not here
//
// status.activeEndpoint is in the schema and stays empty: read v1beta1's
// status.activeEndpoints, which this version passes on.
//
// +groupName=raven.openyurt.io
// +kubebuilder:object:generate=true
package v1alpha1
