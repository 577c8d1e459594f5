// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// sums is where counts are kept between the stages of one `make test`.
const sums = ".cache/tally.json"

// stage is what one run of go test came to.
type stage struct {
	Name    string        `json:"name"`
	Passed  int           `json:"passed"`
	Failed  int           `json:"failed"`
	Skipped int           `json:"skipped"`
	Took    time.Duration `json:"took"`
}

func (s stage) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", s.Passed, s.Failed, s.Skipped)
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1) //nolint:forbidigo // main is where a process ends
	}
}

func run(args []string, out io.Writer) error {
	switch {
	case len(args) == 0:
		return errors.New("usage: tally -begin | -end | NAME [flag|package]…")
	case args[0] == "-begin":
		if err := os.Remove(sums); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("begin: %w", err)
		}
		return nil
	case args[0] == "-end":
		return end(out)
	case len(args) == 1:
		return fmt.Errorf("%s: no packages", args[0])
	}
	return test(args[0], args[1:], out)
}

// test runs go test once and remembers the counts, also when tests failed.
func test(name string, args []string, out io.Writer) error {
	start := time.Now()
	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...) //nolint:noctx // ends with us: same process group
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	r := report{out: out, output: map[string][]string{}}
	r.read(pipe)
	err = cmd.Wait()
	s := stage{name, r.passed, r.failed, r.skipped, time.Since(start).Round(time.Second)}
	fmt.Fprintf(out, "%-5s %s in %v\n", name, s, s.Took)
	if saved := add(s); saved != nil {
		return saved
	}
	if err != nil {
		return fmt.Errorf("%s: go test: %w", name, err)
	}
	if s.Passed == 0 {
		return fmt.Errorf("%s: no test ran", name)
	}
	return nil
}

func load() ([]stage, error) {
	var all []stage
	b, err := os.ReadFile(sums)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", sums, err)
	}
	return all, nil
}

func add(s stage) error {
	all, err := load()
	if err != nil {
		return err
	}
	b, err := json.Marshal(append(all, s))
	if err != nil {
		return fmt.Errorf("encode %s: %w", sums, err)
	}
	if err := os.MkdirAll(filepath.Dir(sums), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	if err := os.WriteFile(sums, b, 0o600); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// end prints every stage and then one plain line, which is the last.
func end(out io.Writer) error {
	all, err := load()
	if err != nil {
		return err
	}
	var sum stage
	for _, s := range all {
		fmt.Fprintf(out, "%-5s %s in %v\n", s.Name, s, s.Took)
		sum.Passed += s.Passed
		sum.Failed += s.Failed
		sum.Skipped += s.Skipped
	}
	fmt.Fprintln(out, sum)
	if sum.Failed != 0 || sum.Passed == 0 {
		return errors.New("not all is well")
	}
	return nil
}
