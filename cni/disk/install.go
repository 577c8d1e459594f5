// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Installer puts the executable and the conflist where the runtime looks.
type Installer struct {
	Source   string // our own magpie-cni
	BinDir   string // the runtime's bin_dir, as we see it
	ConfDir  string // the runtime's conf_dir, as we see it
	Program  string // name in BinDir: cni.Program
	ConfName string // name in ConfDir: api.FileCNIConf
}

// Binary puts the executable into place. Call it at start, before anything
// could want it; a pod that is being deleted needs it, conflist or not.
func (i Installer) Binary() (changed bool, err error) {
	b, err := os.ReadFile(i.Source)
	if err != nil {
		return false, fmt.Errorf("install magpie-cni: %w", err)
	}
	return put(filepath.Join(i.BinDir, i.Program), b, 0o755)
}

// Config puts the conflist into place. Call it when ADD can be served.
func (i Installer) Config(conflist []byte) (changed bool, err error) {
	return put(filepath.Join(i.ConfDir, i.ConfName), conflist, 0o644)
}

// Remove takes the conflist away and then the executable. Both gone is success.
func (i Installer) Remove() error {
	var errs []error
	for _, path := range []string{filepath.Join(i.ConfDir, i.ConfName), filepath.Join(i.BinDir, i.Program)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("uninstall: %w", err))
		}
	}
	return errors.Join(errs...)
}

// put writes a file unless it is there with the same bytes and mode.
func put(path string, b []byte, mode fs.FileMode) (bool, error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		if st, err := os.Stat(path); err == nil && st.Mode().Perm() == mode {
			return false, nil
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("install %s: %w", path, err)
	}
	return true, write(path, b, mode)
}
