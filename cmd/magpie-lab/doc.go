// SPDX-License-Identifier: Apache-2.0

// Command magpie-lab runs a real cluster in four network domains on one
// machine: `magpie-lab up`, and then `magpie-lab kubectl get nodes`.
//
// # Model
//
// Each verb is a few lines around package lab. The same executable, started
// again under hidden verbs, is pid 1 of the lab's machines and their
// `systemctl`.
//
// # Not here
//
// What the lab consists of and why: package lab.
package main
