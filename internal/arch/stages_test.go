// SPDX-License-Identifier: Apache-2.0

package arch_test

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// needs tells by what a test file says what its package needs to run. The
// first that matches counts.
var needs = []struct {
	list string // variable of the Makefile
	says *regexp.Regexp
}{
	{"E2E", regexp.MustCompile(`"github\.com/magpie-edge/magpie/test/lab"\n`)},
	{"API", regexp.MustCompile(`"github\.com/magpie-edge/magpie/test/apiserver"\n`)},
	{"NS", regexp.MustCompile(`CLONE_NEWNET|sandbox\.Main\(|"unshare"|machine\.Hidden\(`)},
}

// tagged is a test of a stage of its own, which `make test` does not run.
var tagged = regexp.MustCompile(`(?m)^//go:build (bench|flannel)$`)

// TestStages: a package whose tests need namespaces, an API server or the lab
// is in the list of the Makefile that runs it there. In no list it would run
// in `make unit`, which promises to need nothing.
func TestStages(t *testing.T) {
	lists := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^(NS|API|E2E)\s*:= (.*)$`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		for folder := range strings.FieldsSeq(m[2]) {
			lists[m[1]] = append(lists[m[1]], folder+"/...")
		}
	}
	if len(lists) != len(needs) {
		t.Fatalf("lists found in the Makefile: %v", lists)
	}
	want := map[string]string{}
	for _, s := range sources(t) {
		if !s.test() || s.dir == "internal/arch" || tagged.MatchString(s.text) {
			continue
		}
		for _, n := range needs {
			if n.says.MatchString(s.text) {
				if want[s.dir] != "E2E" {
					want[s.dir] = n.list
				}
				break
			}
		}
	}
	for dir, list := range want {
		if !anyWithin(dir, strings.Join(lists[list], " ")) {
			t.Errorf("tests of %s need what %s has: add %s to it in the Makefile", dir, list, path.Clean(dir))
		}
	}
}
