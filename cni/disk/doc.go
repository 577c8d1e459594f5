// SPDX-License-Identifier: Apache-2.0

// Package disk keeps the files of the pod side on the node: the ledger's
// journal, and what the container runtime reads.
//
// # Model
//
//	Journal    /var/lib/magpie/ledger.db        append; replaced by rename
//	Installer  CNI bin_dir/magpie-cni           copied from our own image
//	           CNI conf_dir/05-magpie.conflist  written when the node is ready
//
// # Why this way
//
// Package cni is pure but for the doors it is given; this is the one for
// files. Every file that somebody else reads is written beside its place and
// renamed: a runtime that looks at the wrong moment sees the old one or the
// new one, and a running magpie-cni is never written over ("text file busy").
// The conflist comes last and goes first, because its presence is what tells
// the runtime that the node has a network.
//
// The journal is not synced: see package cni.
//
// # Invariants
//
// A file that is as wanted is not written. Temporary files begin with ".magpie-"
// and are removed on failure.
//
// # Not here
//
// What is in the files (cni.Ledger, cni.Conflist), and when (magpie-agent).
package disk
