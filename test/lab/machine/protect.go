// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// hostSysctls are settings of the whole kernel that programs on a node write,
// with the values they want. Each machine gets files of its own in their
// places, so that everybody finds what he wants, or may write it, and the
// host's stay as they are.
// Source: k8s.io/component-helpers/node/util/sysctl, the constants.
var hostSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// protectHost makes all of /proc/sys read-only but the network's part, which
// the machine has for itself.
func protectHost(root string) error {
	sys := filepath.Join(root, "proc/sys")
	if err := bind(sys, sys, true); err != nil {
		return err
	}
	// The network's part as it was before.
	if err := bind(filepath.Join(sys, "net"), filepath.Join(sys, "net"), false); err != nil {
		return err
	}
	if err := mount("none", filepath.Join(sys, "net"), "", unix.MS_BIND|unix.MS_REMOUNT, ""); err != nil {
		return err
	}
	for name, value := range hostSysctls {
		at := filepath.Join(sys, name)
		if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
			continue // this kernel has none
		}
		own := filepath.Join(root, "run/sysctl", name)
		if err := os.MkdirAll(filepath.Dir(own), 0o755); err != nil {
			return fmt.Errorf("shield sysctl %s: %w", name, err)
		}
		if err := os.WriteFile(own, []byte(value+"\n"), 0o644); err != nil {
			return fmt.Errorf("shield sysctl %s: %w", name, err)
		}
		if err := bind(own, at, false); err != nil {
			return err
		}
	}
	return nil
}
