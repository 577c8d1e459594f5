// SPDX-License-Identifier: Apache-2.0

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Journal is a cni.Store in one file. Use it from one goroutine at a time.
type Journal struct {
	path string
	f    *os.File
}

// OpenJournal opens the file, or makes it and its folder.
func OpenJournal(path string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder of ledger: %w", err)
	}
	j := &Journal{path: path}
	return j, j.open()
}

func (j *Journal) open() error {
	f, err := os.OpenFile(j.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open ledger: %w", err)
	}
	if j.f != nil {
		_ = j.f.Close()
	}
	j.f = f
	return nil
}

// Load returns the whole file.
func (j *Journal) Load() ([]byte, error) {
	b, err := os.ReadFile(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Append adds to the end in one write.
func (j *Journal) Append(b []byte) error {
	_, err := j.f.Write(b)
	return err
}

// Replace writes a new file and renames it into place.
func (j *Journal) Replace(b []byte) error {
	if err := write(j.path, b, 0o600); err != nil {
		return err
	}
	return j.open()
}

// Close closes the file.
func (j *Journal) Close() error { return j.f.Close() }

// write puts a file into place by a rename.
func write(path string, b []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".magpie-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Chmod(mode); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
