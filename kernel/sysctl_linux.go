// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// readSettings reads the settings that somebody asked for. One that does not
// exist (its device has gone) is simply not there, and nobody's any more.
func (r *reader) readSettings() error {
	for _, k := range r.w.settings.keys(r.w.scope.sysctls) {
		value, err := r.setting(k)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNoNamespace) {
			r.w.settings.forget(k)
			continue
		}
		if err != nil {
			return err
		}
		r.plan.Sysctls = append(r.plan.Sysctls, plan.Sysctl{NS: k.NS, Name: k.Key, Value: value})
	}
	return nil
}

func (r *reader) setting(k plan.SysctlKey) (string, error) {
	if value, ok, err := r.told(k); ok || err != nil {
		return value, err
	}
	return r.w.host.readSysctl(k)
}

func (h *Host) readSysctl(k plan.SysctlKey) (string, error) {
	file, err := sysctlFile(k.Key)
	if err != nil {
		return "", err
	}
	var value string
	err = inNS(h.file(k.NS), func() error {
		b, err := os.ReadFile(file)
		value = strings.Join(strings.Fields(string(b)), " ")
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", k.Key, err)
	}
	return value, nil
}

// writeSysctl writes a setting that differs. It reads first even when the plan
// says that the value differs: the writer of the plan may never have looked,
// and some settings act on being written, whatever the value.
func (h *realHand) writeSysctl(s plan.Sysctl) (writes int, err error) {
	if handled, writes, err := h.writeConf(s); handled {
		if err != nil {
			err = fmt.Errorf("write sysctl: %w", err)
		}
		return writes, err
	}
	file, err := sysctlFile(s.Name)
	if err != nil {
		return 0, err
	}
	err = inNS(h.host.file(s.NS), func() error {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if strings.Join(strings.Fields(string(b)), " ") == s.Value {
			return nil
		}
		writes = 1
		return writeSetting(file, s.Value)
	})
	if err != nil {
		return 0, fmt.Errorf("write sysctl: %w", err)
	}
	return writes, nil
}

// writeSetting writes a file below /proc/sys. A container runtime mounts that
// tree read-only for every container that is not privileged, whatever its
// capabilities; with CAP_SYS_ADMIN we may make it writable again in our own
// mount namespace, which is less than being privileged.
func writeSetting(file, value string) error {
	err := os.WriteFile(file, []byte(value), 0)
	if !errors.Is(err, unix.EROFS) {
		return err
	}
	if again := unix.Mount("", "/proc/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""); again != nil {
		return errors.Join(err, fmt.Errorf("make /proc/sys writable (needs CAP_SYS_ADMIN): %w", again))
	}
	return os.WriteFile(file, []byte(value), 0)
}

// sysctlFile is where a setting is. Names come from planners, but a device
// name is part of some, so nothing may lead out of the tree.
func sysctlFile(name string) (string, error) {
	if !filepath.IsLocal(name) || filepath.Clean(name) != name {
		return "", fmt.Errorf("sysctl %q: not a name", name)
	}
	return filepath.Join("/proc/sys", name), nil
}
