// SPDX-License-Identifier: Apache-2.0

// Package machine makes little machines out of namespaces.
//
// # Model
//
// A machine is one process tree in its own net, mount, uts, pid, ipc and
// cgroup namespaces, with a file system of its own:
//
//	/usr            the host's, read-only      /etc /var /opt /root   the machine's
//	/run /tmp       fresh tmpfs                /proc /sys             fresh
//	/dev            the host's                 /lab/bin               what the lab built
//
// Its pid 1 (Init) reaps zombies and supervises services described by unit
// files in /etc/systemd/system; the command `systemctl` inside the machine
// (Systemctl) talks to it, so that a join script written for a real machine
// runs unchanged.
//
// # Why this way
//
// Killing pid 1 makes the kernel kill everything in the pid namespace, and
// with the last process go the mounts and the network devices. Tear-down,
// power failure and reboot are therefore one signal, and a lab that was
// itself killed in the middle of anything leaves nothing that one signal per
// machine does not remove. The only things that outlive a machine are its
// directory and its cgroups, and Kill removes the latter.
//
// # Invariants
//
//   - A machine holds a lock on its record for as long as it lives: who can
//     take the lock knows that it is dead. Nothing is ever killed by name.
//   - A machine that comes up for a lab that has gone away meanwhile stops by
//     itself (see Spec.Run).
//   - No mount of a machine is ever visible outside it.
//
// # Not here
//
// Cables between machines, addresses and NAT: package world. What runs on a
// machine: package lab.
package machine
