// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/netip"
	"strconv"
	"time"
)

// Store keeps the journal's bytes. cni/disk has the one on the file system.
type Store interface {
	// Load returns everything written so far; nothing at all is no error.
	Load() ([]byte, error)
	// Append adds bytes at the end, in one write.
	Append(b []byte) error
	// Replace sets the contents, whole or not at all.
	Replace(b []byte) error
}

// The words of a record.
const (
	opBegin   = "begin"   // first line: whose boot this journal belongs to
	opReserve = "reserve" // addresses are taken, the kernel may hold parts of the pod
	opCommit  = "commit"  // the pod is complete
	opRelease = "release" // nothing is left in the kernel; addresses rest from At on
)

// record is one line of the journal: eight hex digits of CRC-32, a space, JSON.
type record struct {
	Op      string       `json:"op"`
	Version int          `json:"version,omitempty"` // opBegin
	Boot    string       `json:"boot,omitempty"`    // opBegin
	Pod     *Pod         `json:"pod,omitempty"`     // opReserve
	Key     *Key         `json:"key,omitempty"`     // opCommit, opRelease
	Addrs   []netip.Addr `json:"addrs,omitempty"`   // opRelease
	At      time.Time    `json:"at,omitzero"`       // opRelease
}

// journalVersion changes when a reader of the last version could misread.
const journalVersion = 1

func (r record) line() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode ledger record: %w", err)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(b), b), nil
}

// parseLine is the reverse of line, without the newline.
func parseLine(b []byte) (record, bool) {
	const head = 9
	var r record
	if len(b) < head || b[head-1] != ' ' {
		return r, false
	}
	sum, err := strconv.ParseUint(string(b[:head-1]), 16, 32)
	if err != nil || uint32(sum) != crc32.ChecksumIEEE(b[head:]) {
		return r, false
	}
	if json.Unmarshal(b[head:], &r) != nil {
		return r, false
	}
	return r, r.whole()
}

// whole reports whether the record has what its operation needs.
func (r record) whole() bool {
	switch r.Op {
	case opBegin:
		return r.Version == journalVersion
	case opReserve:
		return r.Pod != nil && r.Pod.Container != "" && r.Pod.IfName != ""
	case opCommit, opRelease:
		return r.Key != nil
	}
	return false
}

// lease is one pod in the ledger.
type lease struct {
	pod       Pod
	committed bool
}

// contents is what a journal says.
type contents struct {
	leases  map[Key]lease
	resting map[netip.Addr]time.Time // freed at
	boot    string
	lines   int
	// damaged is true when a line other than an unfinished last one could not
	// be read, so that records may be missing.
	damaged bool
}

// parseJournal reads a journal. It never fails: what cannot be read is left
// out and said in damaged. An unfinished last line is what a crash leaves in
// the middle of an append; its operation never counted as done.
func parseJournal(b []byte) contents {
	c := contents{leases: map[Key]lease{}, resting: map[netip.Addr]time.Time{}}
	for len(b) > 0 {
		line, rest, ended := bytes.Cut(b, []byte("\n"))
		b = rest
		if !ended {
			break
		}
		c.lines++
		r, ok := parseLine(line)
		if first := c.lines == 1; !ok || first != (r.Op == opBegin) {
			c.damaged = true
			continue
		}
		c.apply(r)
	}
	return c
}

func (c *contents) apply(r record) {
	switch r.Op {
	case opBegin:
		c.boot = r.Boot
	case opReserve:
		c.leases[r.Pod.Key] = lease{pod: *r.Pod}
	case opCommit:
		if l, ok := c.leases[*r.Key]; ok {
			l.committed = true
			c.leases[*r.Key] = l
		}
	case opRelease:
		delete(c.leases, *r.Key)
		for _, a := range r.Addrs {
			c.resting[a] = r.At
		}
	}
}
