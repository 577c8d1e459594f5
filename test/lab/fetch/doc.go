// SPDX-License-Identifier: Apache-2.0

// Package fetch builds what the lab runs from the Go module proxy, once a
// version, into a folder that all clones share.
//
// # Model
//
// Each Tool is one command of one of the modules beside this package
// (test/lab/kube, kubeold, containerd, helm, coredns, metrics), which pin
// versions and sums.
// A built tool is bin/NAME-VERSION; it is renamed into place when complete, so
// an interrupted build leaves nothing that looks like a tool.
//
// # Why this way
//
// No binary is downloaded: the checksum database vouches for all sources, and
// a machine that can build the product can build its lab.
//
// # Invariants
//
//   - A file named NAME-VERSION is complete.
//   - One process builds at a time; who waited finds the work done.
//
// # Not here
//
// What Debian has (etcd, runc, nft, iptables): Host names the packages.
package fetch
