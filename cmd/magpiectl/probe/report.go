// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Limit is the most bytes of a termination message that kubelet keeps.
// Source: MaxContainerTerminationMessageLength in kubernetes pkg/kubelet/container.
const Limit = 4096

// TargetsMax is how many targets one prober takes: with that many, and every
// check of them failed, the report still fits.
const TargetsMax = 60

// Port is where a server pod echoes, TCP and UDP.
const Port = 4242

// Report is everything one prober found.
type Report struct {
	// Checks are in the order of the targets.
	Checks []Check `json:"c"`
	// Errors are the texts that Checks refer to.
	Errors []string `json:"e,omitempty"`
}

// Check is what became of one target. Of each pair of fields one is set: the
// result, or the number of an error; both are 0 for what was not tried.
type Check struct {
	// TCP, UDP and DNS are round trips in microseconds, at least 1.
	TCP int64 `json:"t,omitempty"`
	UDP int64 `json:"u,omitempty"`
	DNS int64 `json:"d,omitempty"`
	// MTU is the size in bytes of the largest packet the path should carry
	// and did.
	MTU int `json:"m,omitempty"`
	// Passes is the largest packet that was carried when MTU was not.
	Passes int `json:"p,omitempty"`
	// TCPErr and the others are indexes into Report.Errors, plus one.
	TCPErr int `json:"T,omitempty"`
	UDPErr int `json:"U,omitempty"`
	DNSErr int `json:"D,omitempty"`
	MTUErr int `json:"M,omitempty"`
}

// Error returns the text of an error field, "" for none.
func (r Report) Error(index int) string {
	if index < 1 || index > len(r.Errors) {
		return ""
	}
	return r.Errors[index-1]
}

// fault returns the number of an error in a table, entering its text if it is
// new.
func fault(table *[]string, err error) int {
	if err == nil {
		return 0
	}
	i := slices.Index(*table, err.Error())
	if i < 0 {
		i = len(*table)
		*table = append(*table, err.Error())
	}
	return i + 1
}

// Encode returns the report as a termination message. If it is too long the
// texts of errors are cut, evenly: which target failed matters more than why.
func Encode(r Report) ([]byte, error) {
	b, err := json.Marshal(r)
	for keep := 200; err == nil && len(b) > Limit && keep >= 0; keep -= 10 {
		short := Report{Checks: r.Checks, Errors: make([]string, len(r.Errors))}
		for i, e := range r.Errors {
			short.Errors[i] = e[:min(len(e), keep)]
		}
		b, err = json.Marshal(short)
	}
	if err != nil {
		return nil, fmt.Errorf("encode report: %w", err)
	}
	if len(b) > Limit {
		return nil, fmt.Errorf("encode report: %d bytes for %d targets, %d is the limit", len(b), len(r.Checks), Limit)
	}
	return b, nil
}

// Decode reads what Encode wrote.
func Decode(b []byte) (Report, error) {
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return Report{}, fmt.Errorf("decode report %.80q: %w", b, err)
	}
	return r, nil
}
