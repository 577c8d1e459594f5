// SPDX-License-Identifier: Apache-2.0

// Package v1beta1 is the older form of OpenYurt's NodePool: it is served so
// that old manifests are accepted, and nothing of ours reads it.
//
// # Model
//
// v1beta2 without what OpenYurt's pool leaders need.
//
// # Why this way
//
// The versions differ only in fields that this one lacks, so conversion is a
// change of label (strategy None) and needs no webhook. Fields that only
// v1beta2 knows are preserved, not pruned: a client of this version does not
// lose them.
//
// # Invariants
//
// This version is never stored.
//
// # Not here
//
// What a pool means: package nodepool.
//
// +groupName=apps.openyurt.io
// +kubebuilder:object:generate=true
package v1beta1
