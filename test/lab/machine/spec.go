// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Spec is what a machine is made of.
type Spec struct {
	Name string `json:"name"` // host name, also the name of its files
	Lab  string `json:"lab"`  // state folder of the lab
	Bin  string `json:"bin"`  // folder shown as /lab/bin
	// Run identifies one life of the lab. A machine that finds another value
	// in the lab's run file than its own was started by an `up` that has been
	// undone since, and stops.
	Run string `json:"run"`
}

// Dir is where the machine's own file systems are kept.
func (s Spec) Dir() string { return filepath.Join(s.Lab, "nodes", s.Name) }

// Logs is where the output of its services goes, one file a service.
func (s Spec) Logs() string { return filepath.Join(s.Lab, "logs", s.Name) }

// cgroup is the machine's path in every cgroup hierarchy.
func (s Spec) cgroup() string {
	return filepath.Join("magpie-lab", filepath.Base(s.Lab), s.Name)
}

func (s Spec) specFile() string { return filepath.Join(s.Lab, "machines", s.Name+".spec") }

// runFile holds the run id of the lab.
func runFile(lab string) string { return filepath.Join(lab, "run") }

// WriteRun begins (id not empty) or ends (id empty) a life of the lab.
func WriteRun(lab, id string) error {
	if id == "" {
		if err := os.Remove(runFile(lab)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("end run: %w", err)
		}
		return nil
	}
	return writeFile(runFile(lab), []byte(id), 0o644)
}

// ReadRun returns the run id of the lab, empty if it is down.
func ReadRun(lab string) string {
	b, err := os.ReadFile(runFile(lab))
	if err != nil {
		return ""
	}
	return string(b)
}

func (s Spec) write() error {
	b, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode machine %s: %w", s.Name, err)
	}
	return writeFile(s.specFile(), b, 0o644)
}

func readSpec(file string) (Spec, error) {
	var s Spec
	b, err := os.ReadFile(file)
	if err != nil {
		return s, fmt.Errorf("read machine: %w", err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("decode machine %s: %w", file, err)
	}
	return s, nil
}

// writeFile replaces a file in one step, so that whoever is killed in the
// middle leaves the old one.
func writeFile(name string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make folder of %s: %w", name, err)
	}
	tmp := name + ".new"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}
