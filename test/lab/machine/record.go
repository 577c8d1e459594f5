// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Record is the life sign of a process of the lab: written by itself as its
// first act, locked by it until it ends.
type Record struct {
	PID   int    `json:"pid"`   // as the host counts
	Start uint64 `json:"start"` // clock ticks after boot; tells a reused pid
	Run   string `json:"run"`
}

var errAlive = errors.New("already running")

// Enlist writes the caller's record and keeps it locked until the process
// ends. It fails with an error if another process holds it, and if the lab is
// not in the life the caller was started for. /proc must be the host's.
//
// The order matters: `down` first ends the run, then reads records. Whoever
// enlists writes the record first, then reads the run. So either `down` sees
// the record, or the newcomer sees that the run has ended.
func Enlist(lab, name, run string) (*os.File, error) {
	file := filepath.Join(lab, "machines", name+".json")
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open record: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock record %s: %w", file, errAlive)
	}
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return nil, fmt.Errorf("read own pid: %w", err)
	}
	pid, err := strconv.Atoi(self)
	if err != nil {
		return nil, fmt.Errorf("read own pid %q: %w", self, err)
	}
	start, err := startTime(pid)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(Record{PID: pid, Start: start, Run: run})
	if err != nil {
		return nil, fmt.Errorf("encode record: %w", err)
	}
	if err := errors.Join(f.Truncate(0), writeAt(f, b)); err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	if got := ReadRun(lab); got != run {
		return nil, fmt.Errorf("lab is in run %q, not %q: stop", got, run)
	}
	return f, nil
}

func writeAt(f *os.File, b []byte) error {
	_, err := f.WriteAt(b, 0)
	return err
}

// ReadRecord returns the record of a living process of the lab; false if it
// is dead or was never there.
func ReadRecord(lab, name string) (Record, bool) {
	b, err := os.ReadFile(filepath.Join(lab, "machines", name+".json"))
	if err != nil {
		return Record{}, false
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil || r.PID <= 1 {
		return Record{}, false
	}
	start, err := startTime(r.PID)
	return r, err == nil && start == r.Start
}

// startTime is field 22 of /proc/PID/stat; zombies count as dead.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read start time: %w", err)
	}
	i := bytes.LastIndexByte(b, ')') // the command name may hold anything
	fields := strings.Fields(string(b[i+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("read start time of %d: short stat", pid)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fmt.Errorf("read start time of %d: ended", pid)
	}
	n, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read start time of %d: %w", pid, err)
	}
	return n, nil
}
