// SPDX-License-Identifier: Apache-2.0

// Package rewire points kube-proxy and CoreDNS at the hub of their node, and
// back. It is pure: objects in, objects out.
//
// # Model
//
//	kube-proxy   DaemonSet: volume of the ConfigMap  ->  the same ConfigMap less
//	             its kubeconfig, and a ConfigMap of ours with another one
//	CoreDNS      Corefile: one line in each kubernetes block
//	             Deployment or DaemonSet: the folder that the line imports from
//	both         the node's /var/lib/magpie/hub, mounted at /etc/magpie-hub
//
// # Why this way
//
// kube-proxy's own ConfigMap is not touched: the DaemonSet is the one object
// that changes, so a pod sees the old kubeconfig or the new one with its
// authority, never half of each; what an operator edits in config.conf counts
// on either way; and a kubeadm upgrade, which writes both objects anew, takes
// kube-proxy back to the API server and leaves nothing broken.
//
// A pod of kube-proxy waits for the folder: on a node without a hub it would
// lead nowhere. CoreDNS does not: its line imports what is there, so that on a
// node without a hub, or when the hub is taken away, it asks the API server as
// before, and its reload plugin sees to that without a restart.
//
// # Invariants
//
// On is Off first, so it can be repeated, and follows what has changed since.
// Off of On is what was there, byte by byte. Nothing is remembered but the
// volume, in an annotation of the DaemonSet: the rest is known by its name.
//
// # Not here
//
// Reading and writing the objects (cmd/magpiectl), what is in the folder
// (hub/client).
package rewire
