// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one line of go test -json.
// Source: `go doc test2json`.
type event struct {
	Action, Package, ImportPath, Test, Output string

	Elapsed float64
}

// report turns events into lines for a person.
type report struct {
	out    io.Writer
	output map[string][]string // by package and test, until it is known whether it matters

	passed, failed, skipped int
}

func (r *report) read(from io.Reader) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text())
			continue
		}
		r.event(e)
	}
}

func (r *report) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		r.end(e, key)
	}
}

// end counts a test that ended, or prints the line of a package.
func (r *report) end(e event, key string) {
	switch {
	case e.Test == "":
		r.pkg(e, key)
	case e.Action == "pass":
		r.passed++
	case e.Action == "fail":
		r.failed++
		r.print(key)
	default:
		r.skipped++
		r.print(key)
	}
	delete(r.output, key)
}

// pkg prints one line for a package; all of its output if it failed outside
// of any test: it did not build, it ran into its time limit, or TestMain said
// no.
func (r *report) pkg(e event, key string) {
	took := fmt.Sprintf("%.1fs", e.Elapsed)
	switch e.Action {
	case "pass":
		fmt.Fprintf(r.out, "ok    %s %s\n", e.Package, took)
	case "fail":
		r.print(key)
		for k := range r.output { // build output and tests that never ended
			if k == " " || strings.HasPrefix(k, e.Package+" ") && k != key {
				r.print(k)
				delete(r.output, k)
			}
		}
		fmt.Fprintf(r.out, "FAIL  %s %s\n", e.Package, took)
	}
}

func (r *report) print(key string) {
	for _, line := range r.output[key] {
		if !strings.HasPrefix(line, "=== ") && line != "FAIL\n" && line != "PASS\n" {
			fmt.Fprint(r.out, line)
		}
	}
}
