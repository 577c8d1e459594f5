// SPDX-License-Identifier: Apache-2.0

package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

// want is the name of the file that holds the expected output.
const want = "want"

var update = flag.Bool("update", false, "rewrite the expected output of golden files")

// Updating reports whether the tests were started with -update. Tests that
// keep their expectation elsewhere than in a Case use it.
func Updating() bool { return *update }

// Case is one golden file as the function under test sees it.
type Case struct {
	// Name is the file's name without folder and extension.
	Name string
	// Prose says what the case shows.
	Prose string

	files map[string][]byte
}

// File returns the input file of that name and fails the test if the case has
// none.
func (c Case) File(tb testing.TB, name string) []byte {
	tb.Helper()
	b, ok := c.files[name]
	if !ok {
		tb.Fatalf("case %s has no file %q", c.Name, name)
	}
	return b
}

// Has reports whether the case has an input file of that name.
func (c Case) Has(name string) bool {
	_, ok := c.files[name]
	return ok
}

// Run runs f as a subtest for every file that matches pattern (usually
// "testdata/*.txtar") and compares what it returns with the file's "want".
// Trailing white space of either is ignored; everything else counts.
func Run(t *testing.T, pattern string, f func(t *testing.T, c Case) string) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Fatalf("no golden file matches %s", pattern)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) { one(t, path, name, f) })
	}
}

func one(t *testing.T, path, name string, f func(t *testing.T, c Case) string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	archive := txtar.Parse(raw)
	c := Case{Name: name, Prose: strings.TrimSpace(string(archive.Comment)), files: map[string][]byte{}}
	if c.Prose == "" {
		t.Fatalf("%s does not begin with a sentence that says what it shows", path)
	}
	expected, at := "", -1
	for i, file := range archive.Files {
		if file.Name == want {
			expected, at = string(file.Data), i
			continue
		}
		c.files[file.Name] = file.Data
	}
	got := strings.TrimSpace(f(t, c)) + "\n"
	if *update {
		rewrite(t, path, archive, at, got)
		return
	}
	if at < 0 {
		t.Fatalf("%s has no %q: run go test -update and read what it wrote", path, want)
	}
	if diff := cmp.Diff(lines(expected), lines(got)); diff != "" {
		t.Errorf("%s\n%s (-want +got):\n%s", c.Prose, path, diff)
	}
}

// rewrite puts got into the archive and writes the file only if that changes
// it, so that -update leaves the time stamps of unaffected cases alone.
func rewrite(t *testing.T, path string, archive *txtar.Archive, at int, got string) {
	t.Helper()
	before := txtar.Format(archive)
	if at < 0 {
		archive.Files = append(archive.Files, txtar.File{Name: want})
		at = len(archive.Files) - 1
	}
	archive.Files[at].Data = []byte(got)
	after := txtar.Format(archive)
	if bytes.Equal(before, after) {
		return
	}
	if err := os.WriteFile(path, after, 0o600); err != nil {
		t.Fatal(err)
	}
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }
