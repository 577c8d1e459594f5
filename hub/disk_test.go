// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/hub"
)

// life is one process: it runs until the test's part is done and then stops in
// an orderly way.
func life(t *testing.T, o hub.Options, part func(*hub.Store)) {
	t.Helper()
	s := hub.New(o)
	s.Place(shops().place("a-1"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	part(s)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// remembering are options with a disk; what is logged goes to the buffer.
func remembering(dir string) (hub.Options, *bytes.Buffer) {
	var log bytes.Buffer
	o := options()
	o.Dir, o.Log = dir, slog.New(slog.NewTextHandler(&log, nil))
	return o, &log
}

func unready(t *testing.T, s *hub.Store, k hub.Kind) {
	t.Helper()
	if _, _, err := s.List(k); !errors.Is(err, hub.ErrNotReady) {
		t.Errorf("list of %s: %v", k.Resource, err)
	}
}

// TestAlone: a process that starts without an API server shows what the last
// one knew, filtered for where the node stands now, and when the API server is
// back tells the differences only.
func TestAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := remembering(t.TempDir())
		var last uint64
		life(t, o, func(s *hub.Store) {
			replace(t, s, hub.Services, pinned("till", byPool), service("open"))
			replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "b-1"), slice("open-1", "open", "b-1"))
			replace(t, s, hub.Endpoints, endpoints("till", "a-1", "b-1"))
			replace(t, s, hub.Nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a-1"}})
			replace(t, s, hub.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
			_, last, _ = s.List(hub.Endpoints)
			_, _, _ = s.List(hub.Nodes)
			_, _, _ = s.List(hub.Namespaces)
			synctest.Wait()
		})
		time.Sleep(time.Minute)
		life(t, o, func(s *hub.Store) {
			if err := s.Wait(t.Context(), hub.EndpointSlices); err != nil {
				t.Fatal(err)
			}
			for _, k := range hub.Kinds() {
				if err := s.Wait(t.Context(), k); err != nil {
					t.Fatal(err)
				}
			}
			same(t, "services", []string{"open 30080", "till 30080"}, seen(t, s, hub.Services))
			same(t, "slices", []string{"open-1 b-1", "till-1 a-1"}, seen(t, s, hub.EndpointSlices))
			same(t, "endpoints", []string{"till a-1"}, seen(t, s, hub.Endpoints))
			same(t, "nodes", []string{"a-1"}, seen(t, s, hub.Nodes))
			same(t, "namespaces", []string{"shop"}, seen(t, s, hub.Namespaces))
			if st := s.Stats()[1]; !st.Stale || !st.Heard.IsZero() || s.Online() {
				t.Errorf("nobody has answered: %+v", st)
			}
			if _, err := s.Watch(hub.Services, last); !errors.Is(err, hub.ErrGone) {
				t.Errorf("a version of the last process: %v", err)
			}
			services, inSlices := follow(t, s, hub.Services), follow(t, s, hub.EndpointSlices)
			replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "a-2", "b-1"), slice("open-1", "open", "b-1"))
			replace(t, s, hub.Services, pinned("till", byPool), service("open"), service("new"))
			same(t, "what is new of Services", []string{"ADDED new 30080"}, drain(t, services))
			same(t, "what is new of slices", []string{"MODIFIED till-1 a-1,a-2"}, drain(t, inSlices))
			if s.Stats()[1].Stale || !s.Online() {
				t.Error("the API server has answered")
			}
		})
	})
}

// TestPatience: the disk is asked only when the API server has been silent for
// a moment.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := remembering(t.TempDir())
		life(t, o, func(s *hub.Store) { replace(t, s, hub.Services, service("old")) })
		life(t, o, func(s *hub.Store) {
			time.Sleep(time.Second)
			unready(t, s, hub.Services)
			replace(t, s, hub.Services, service("new"))
			w := follow(t, s, hub.Services)
			same(t, "what comes later", []string{}, drain(t, w))
			same(t, "services", []string{"new 30080"}, seen(t, s, hub.Services))
		})
	})
}

// TestWrittenSoon: a process that is killed leaves what it knew some seconds
// ago; one that is told something new all the time does not write all the time.
func TestWrittenSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o, _ := remembering(dir)
		path := filepath.Join(dir, "services.truth")
		life(t, o, func(s *hub.Store) {
			replace(t, s, hub.Services, service("till"))
			synctest.Wait()
			var before, after []byte
			writes := 0
			for i := range 600 { // a minute
				put(t, s, hub.Services, service("till", "n", strings.Repeat("x", i)))
				time.Sleep(time.Second / 10)
				after, _ = os.ReadFile(path)
				if !bytes.Equal(before, after) {
					writes++
				}
				before = after
			}
			if writes < 10 || writes > 12 {
				t.Errorf("%d writes in a minute", writes)
			}
		})
	})
}

// written is a file of Services as a process leaves it.
func written(t *testing.T, o hub.Options, services ...hub.Object) []byte {
	t.Helper()
	life(t, o, func(s *hub.Store) { replace(t, s, hub.Services, services...) })
	text, err := os.ReadFile(filepath.Join(o.Dir, "services.truth"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCut: wherever the power is cut while a file is written, the next process
// has the old truth. One whose end is missing is not used at all.
func TestCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		o, log := remembering(dir)
		path := filepath.Join(dir, "services.truth")
		now := written(t, o, service("new"), service("newer"))
		old := written(t, o, service("old"))
		for n := range len(now) + 1 {
			// What is being written has a name of its own until it is whole.
			if err := os.WriteFile(path+".new", now[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			life(t, o, func(s *hub.Store) {
				time.Sleep(3 * time.Second)
				same(t, "services", []string{"old 30080"}, seen(t, s, hub.Services))
			})
		}
		if log.Len() == 0 || strings.Contains(log.String(), "WARN") {
			t.Errorf("nothing was wrong: %s", log)
		}
		for n := range len(old) {
			log.Reset()
			if err := os.WriteFile(path, old[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			life(t, o, func(s *hub.Store) {
				time.Sleep(3 * time.Second)
				unready(t, s, hub.Services)
			})
			if !strings.Contains(log.String(), "WARN") {
				t.Fatalf("%d of %d bytes: no warning", n, len(old))
			}
		}
	})
}

// TestDamaged: one bit is enough, anywhere.
func TestDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := remembering(t.TempDir())
		text := written(t, o, service("till"))
		for i := range text {
			log.Reset()
			bad := bytes.Clone(text)
			bad[i] ^= 1 << (i % 8)
			if err := os.WriteFile(filepath.Join(o.Dir, "services.truth"), bad, 0o600); err != nil {
				t.Fatal(err)
			}
			life(t, o, func(s *hub.Store) {
				time.Sleep(3 * time.Second)
				unready(t, s, hub.Services)
			})
			if !strings.Contains(log.String(), "WARN") {
				t.Fatalf("byte %d: no warning", i)
			}
		}
	})
}

// TestForeignTruth: a whole file of another cluster or kind is no truth.
func TestForeignTruth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := remembering(t.TempDir())
		text := written(t, o, service("till"))
		if err := os.WriteFile(filepath.Join(o.Dir, "endpointslices.truth"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		o.Cluster = "another"
		life(t, o, func(s *hub.Store) {
			time.Sleep(3 * time.Second)
			unready(t, s, hub.Services)
			unready(t, s, hub.EndpointSlices)
		})
		if n := strings.Count(log.String(), "WARN"); n != 2 {
			t.Errorf("%d warnings\n%s", n, log)
		}
	})
}

// TestDiskFull: no room costs a warning, and the old file stays whole. Here no
// file of the process may be larger than what is already there, so the write
// breaks off halfway; in a process of its own, because go test writes files, too.
func TestDiskFull(t *testing.T) {
	if os.Getenv("HUB_TEST_DISK") == "" {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$")
		c.Env = append(os.Environ(), "HUB_TEST_DISK=full")
		if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS")) {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	synctest.Test(t, func(t *testing.T) {
		o, log := remembering(t.TempDir())
		path := filepath.Join(o.Dir, "services.truth")
		old := written(t, o, service("old"))
		life(t, o, func(s *hub.Store) {
			replace(t, s, hub.Services, service("old"), service("new", "x", strings.Repeat("x", 100<<10)))
			leave := limitFiles(t, uint64(len(old)+1000))
			time.Sleep(58 * time.Second) // not when it writes
			if text, err := os.ReadFile(path); err != nil || !bytes.Equal(text, old) {
				t.Errorf("the old file: %d bytes, had %d, %v", len(text), len(old), err)
			}
			if _, err := os.Stat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("half a file is left: %v", err)
			}
			if n := strings.Count(log.String(), "WARN"); n != 1 {
				t.Errorf("%d warnings in a minute\n%s", n, log)
			}
			same(t, "services", []string{"new 30080", "old 30080"}, seen(t, s, hub.Services))
			leave()
			time.Sleep(time.Minute)
			if text, err := os.ReadFile(path); err != nil || bytes.Equal(text, old) {
				t.Errorf("there is room again, and nothing is written: %v", err)
			}
		})
	})
}

// limitFiles sets how large a file of this process may get, until it is told
// to leave.
func limitFiles(t *testing.T, size uint64) (leave func()) {
	t.Helper()
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: size, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
			t.Fatal(err)
		}
	}
}

// FuzzTruth: a file whose sum is right may still hold anything.
func FuzzTruth(f *testing.F) {
	f.Add([]byte(`{"format":1,"cluster":"lab","kind":"services","objects":1}` + "\n\x02\x0a\x00"))
	f.Add([]byte(`{"format":1,"cluster":"lab","kind":"services","objects":0}` + "\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		synctest.Test(t, func(t *testing.T) {
			o, log := remembering(t.TempDir())
			sum := sha256.Sum256(body)
			if err := os.WriteFile(filepath.Join(o.Dir, "services.truth"), append(body, sum[:]...), 0o600); err != nil {
				t.Fatal(err)
			}
			life(t, o, func(s *hub.Store) {
				time.Sleep(3 * time.Second)
				_, _, err := s.List(hub.Services)
				if (err != nil) != strings.Contains(log.String(), "WARN") {
					t.Errorf("list: %v, log: %s", err, log)
				}
			})
		})
	})
}
