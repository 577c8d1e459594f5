// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/hub/access"
)

// left is the file that a process leaves who was told of a token and a right.
func left(t *testing.T, d *desk, path string) string {
	t.Helper()
	d.knows("good", kubeProxy("1"))
	d.allow(mayWatch, true)
	d.life(t, d.options(path), func(r *access.Reviewer) {
		is(t, "bad", who(t, r, "bad"), "nobody")
		u, err := r.Who(t.Context(), "good")
		if err != nil {
			t.Fatal(err)
		}
		is(t, "right", may(t, r, u, watchServices), "yes")
		is(t, "no right", may(t, r, u, access.Deed{Verb: "list", Version: "v1", Resource: "nodes"}), "no")
	})
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestKept: a process that starts alone knows whom the last one knew; only what
// was allowed is on disk, for nobody else to read, and no token.
func TestKept(t *testing.T) {
	d, path := newDesk(t), stateFile(t)
	text := left(t, d, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if strings.Contains(text, "good") {
		t.Error("a token is on disk")
	}
	var file map[string]map[string]any
	if err := json.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	if len(file["users"]) != 1 || len(file["rights"]) != 1 {
		t.Errorf("on disk: %s", text)
	}
	d.have(hangUp)
	d.later(3 * time.Minute)
	r := reviewer(t, d.options(path))
	u, err := r.Who(t.Context(), "good")
	if err != nil {
		t.Fatal(err)
	}
	is(t, "right", may(t, r, u, watchServices), "yes")
	is(t, "bad", who(t, r, "bad"), "unknown")
	is(t, "no right", may(t, r, u, access.Deed{Verb: "list", Version: "v1", Resource: "nodes"}), "unknown")
	d.later(24 * time.Hour)
	is(t, "after the grace", who(t, r, "good"), "unknown")
}

// TestWithdrawnIsNotKept: what was taken away is away for the next process.
func TestWithdrawnIsNotKept(t *testing.T) {
	d, path := newDesk(t), stateFile(t)
	left(t, d, path)
	d.forgets("good")
	d.allow(mayWatch, false)
	d.later(3 * time.Minute)
	d.life(t, d.options(path), func(r *access.Reviewer) {
		is(t, "good", who(t, r, "good"), "nobody")
	})
	d.have(hangUp)
	is(t, "good, the next process", who(t, reviewer(t, d.options(path)), "good"), "unknown")
}

// TestWrongClock: an answer that is kept from the future is asked for again, as
// it may be of any age, and is good for the grace.
func TestWrongClock(t *testing.T) {
	d, path := newDesk(t), stateFile(t)
	d.later(10 * 365 * 24 * time.Hour)
	left(t, d, path)
	d.later(-10 * 365 * 24 * time.Hour)
	r := reviewer(t, d.options(path))
	d.have(hangUp)
	is(t, "away", who(t, r, "good"), kubeProxy("").Username)
	d.have(nil)
	d.forgets("good")
	d.later(6 * time.Second)
	is(t, "back, and withdrawn", who(t, r, "good"), "nobody")
}

// TestDamaged: a file that is cut anywhere, or is no such file, is as good as
// none: a warning, nobody let in by it, and a whole one soon.
func TestDamaged(t *testing.T) {
	d, path := newDesk(t), stateFile(t)
	text := left(t, d, path)
	d.have(hangUp)
	texts := []string{"null", "[]", `{"users":[]}`, `{"users":{"a":{"value":7}}}`, text + text, "\x00" + text}
	for n := 0; n < len(text); n += 7 {
		texts = append(texts, text[:n])
	}
	for _, text := range texts {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		log, said := logged()
		o := d.options(path)
		o.Log = log
		if got := who(t, reviewer(t, o), "good"); got != "unknown" {
			t.Errorf("from %.40q: %s", text, got)
		}
		if text != "null" && !strings.Contains(said(), "level=WARN") {
			t.Errorf("from %.40q: nobody is warned", text)
		}
	}
	d.have(nil)
	if again := left(t, d, path); !json.Valid([]byte(again)) {
		t.Error("the next file is not whole")
	}
}

// TestEntriesTwice: of what stands twice in a file one counts, and nobody is
// let in who was in neither.
func TestEntriesTwice(t *testing.T) {
	d, path := newDesk(t), stateFile(t)
	text := left(t, d, path)
	body := strings.TrimSuffix(text, "}")
	if err := os.WriteFile(path, []byte(body+","+strings.TrimPrefix(text, "{")), 0o600); err != nil {
		t.Fatal(err)
	}
	d.have(hangUp)
	r := reviewer(t, d.options(path))
	is(t, "good", who(t, r, "good"), kubeProxy("").Username)
	is(t, "bad", who(t, r, "bad"), "unknown")
}

// TestDiskFull: no room costs one warning; who is known stays known and the old
// file stays whole. In a process of its own that may write no larger files.
func TestDiskFull(t *testing.T) {
	if os.Getenv("ACCESS_TEST_DISK") == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$")
		c.Env = append(os.Environ(), "ACCESS_TEST_DISK=full")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	d, path := newDesk(t), stateFile(t)
	before := left(t, d, path)
	signal.Ignore(syscall.SIGXFSZ)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = uint64(len(before))
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	log, said := logged()
	o := d.options(path)
	o.Log = log
	r := reviewer(t, o)
	d.knows("another", kubeProxy("2"))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	is(t, "another", who(t, r, "another"), kubeProxy("").Username)
	stop()
	<-done
	if got := said(); strings.Count(got, "answers about callers are not saved") != 1 {
		t.Errorf("log: %s", got)
	}
	after, err := os.ReadFile(path)
	if err != nil || string(after) != before {
		t.Errorf("the old file is not as it was: %v", err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the file is something: %v, %v", entries, err)
	}
	d.have(hangUp)
	d.later(3 * time.Minute)
	is(t, "another, away", who(t, r, "another"), kubeProxy("").Username)
	is(t, "good, the next process", who(t, reviewer(t, o), "good"), kubeProxy("").Username)
}
