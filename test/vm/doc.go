// SPDX-License-Identifier: Apache-2.0

// Command vm runs a test binary on another kernel: Debian's cloud kernel, in
// an emulated machine.
//
//	go test -exec "go run ./test/vm" ./kernel      or, for all that `make vm` runs:
//	make vm
//
// # Model
//
//	go test --> vm BINARY ARGS --> qemu (software emulation, no network card)
//	              |                   kernel  from linux-image-cloud-amd64
//	              |                   /       initramfs: this program as init, the modules,
//	              |                           the host's ip, nft, iptables…, the repository
//	              +<-- serial lines <-- init: BINARY ARGS; what it prints, how it ended
//
// # Why this way
//
// A kernel without WireGuard shows only half of what the product does: where
// there is a module, nothing runs in the agent. Tests are the same on both,
// so this is a way to run them, not a suite of its own: `go test -exec` takes a
// program that runs test binaries, and test/tally adds up as always.
//
// The machine has no disk and no network card. What it needs is copied into its
// initramfs, because the cloud kernel has no file system that a host could share.
// Modules are loaded by the kernel itself when they are asked for, as on a real
// node. Emulated, because a build machine is often a virtual one that can have no
// other inside; about ten times slower than the host, so tests that wait
// for a real clock may need more patience than they have.
//
// # Invariants
//
// The host gets no kernel and no module: the package is unpacked into the cache
// of the lab, not installed. The machine ends with this program, also when that is
// killed. What a test does stays in the machine.
//
// # Not here
//
// Which packages run so: the Makefile. Containers and whole clusters: test/lab.
package main
