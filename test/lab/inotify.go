// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// How many inotify instances a lab holds: 36 of kubelet, 12 of containerd, 11 of
// the control plane; and 6 of kube-proxy, which a bare one has not. A usual host
// has room for one of each kind: a lab of a user, and one of its own tests.
const (
	inotifyBare = 60
	inotifyNeed = 66
)

// checkInotify says beforehand what would otherwise show as kubelets that
// restart for ever with "too many open files". The kernel counts instances by
// user, whatever the namespace, and the limit belongs to the host: the lab
// does not change it.
func checkInotify(bare bool) error {
	need := inotifyNeed
	if bare {
		need = inotifyBare
	}
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		return nil //nolint:nilerr // a kernel without the limit
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return fmt.Errorf("read inotify limit: %w", err)
	}
	if used := inotifyUsed(); limit-used < need {
		return fmt.Errorf("a lab needs %d inotify instances, this machine allows root %d and %d are in use (by another lab?): "+
			"sysctl -w fs.inotify.max_user_instances=1024", need, limit, used)
	}
	return nil
}

// inotifyUsed counts root's instances.
func inotifyUsed() int {
	used := 0
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		fi, err := os.Stat(p)
		if err != nil {
			continue
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 {
			continue
		}
		fds, _ := os.ReadDir(p + "/fd")
		for _, fd := range fds {
			if to, err := os.Readlink(p + "/fd/" + fd.Name()); err == nil && to == "anon_inode:inotify" {
				used++
			}
		}
	}
	return used
}
