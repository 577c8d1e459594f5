// SPDX-License-Identifier: Apache-2.0

package hub_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/plan"
)

// TestFlapping: a Service that changes between values a hundred times a second.
// Who reads follows to the end, who does not is told to list again and costs no
// memory meanwhile, and people are not told a hundred times a second.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, notes := options(), 0
		o.Window = 64
		o.Note = func(*corev1.Service, plan.Note) { notes++ }
		s := hub.New(o)
		s.Place(shops().place("a-1"))
		replace(t, s, hub.Services, pinned("till", "planet"), service("open"))
		replace(t, s, hub.EndpointSlices, slice("till-1", "till", "a-1", "b-1"), slice("open-1", "open", "b-1"))
		reader, sleeper := follow(t, s, hub.EndpointSlices), follow(t, s, hub.EndpointSlices)
		_, from, err := s.List(hub.EndpointSlices)
		if err != nil {
			t.Fatal(err)
		}
		last, events := "", 0
		for i := range 1000 { // ten seconds
			put(t, s, hub.Services, pinned("till", []string{byPool, "region", byNode, "planet"}[i%4]))
			time.Sleep(10 * time.Millisecond)
			batch, err := reader.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range batch {
				if !strings.HasPrefix(describe(e.Item.Object), "till-1 ") {
					t.Errorf("event of %s", describe(e.Item.Object))
				}
				last, events = describe(e.Item.Object), events+1
			}
		}
		if last != "till-1 a-1,b-1" || events > 1000 {
			t.Errorf("after %d events the reader has %s", events, last)
		}
		same(t, "slices", []string{"open-1 b-1", "till-1 a-1,b-1"}, seen(t, s, hub.EndpointSlices))
		if _, err := sleeper.Next(t.Context()); !errors.Is(err, hub.ErrGone) {
			t.Errorf("who has not read: %v", err)
		}
		if _, err := s.Watch(hub.EndpointSlices, from); !errors.Is(err, hub.ErrGone) {
			t.Errorf("a watch from the beginning: %v", err)
		}
		if notes != 2 {
			t.Errorf("%d notes in ten seconds about two values", notes)
		}
	})
}

// TestWrittenTwice: a whole file that has an object twice shows it once.
func TestWrittenTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, log := remembering(t.TempDir())
		text := written(t, o, service("till"))
		line, objects, _ := bytes.Cut(text[:len(text)-sha256.Size], []byte("\n"))
		body := bytes.Join([][]byte{bytes.Replace(line, []byte(`"objects":1`), []byte(`"objects":2`), 1), append(objects, objects...)}, []byte("\n"))
		sum := sha256.Sum256(body)
		if err := os.WriteFile(filepath.Join(o.Dir, "services.truth"), append(body, sum[:]...), 0o600); err != nil {
			t.Fatal(err)
		}
		life(t, o, func(s *hub.Store) {
			time.Sleep(3 * time.Second)
			same(t, "services", []string{"till 30080"}, seen(t, s, hub.Services))
			if n := s.Stats()[0].Objects; n != 1 {
				t.Errorf("it has %d objects", n)
			}
		})
		if strings.Contains(log.String(), "WARN") {
			t.Errorf("log: %s", log)
		}
	})
}

// TestWrongAnswers: what is well formed and no list of what was asked for takes
// nothing away.
func TestWrongAnswers(t *testing.T) {
	list := func(kind, version, items string) string {
		return fmt.Sprintf(`{"kind":%q,"apiVersion":%q,"metadata":{"resourceVersion":"7"},"items":[%s]}`, kind, version, items)
	}
	for name, answer := range map[string]string{
		"another kind of list":   list("PodList", "v1", ""),
		"an old kind of list":    list("ServiceList", "v1beta1", ""),
		"one object":             `{"kind":"Service","apiVersion":"v1","metadata":{"name":"x","namespace":"shop","resourceVersion":"7"}}`,
		"a table":                `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"rows":[]}`,
		"a status that is good":  `{"kind":"Status","apiVersion":"v1","metadata":{"resourceVersion":"7"},"status":"Success"}`,
		"objects of another":     list("ServiceList", "v1", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"till","namespace":"shop"}}`),
		"a list that breaks off": list("ServiceList", "v1", "")[:60],
		"rubbish":                "k8s\x00\xff\xff\xff",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var wrong atomic.Bool
			var asked atomic.Int32
			good := list("ServiceList", "v1", `{"metadata":{"name":"till","namespace":"shop","uid":"1","resourceVersion":"5"}}`)
			turn := make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				switch watching := r.URL.Query().Get("watch") != ""; {
				case !strings.HasSuffix(r.URL.Path, "/services"):
					http.NotFound(w, r)
				case watching && r.URL.Query().Get("sendInitialEvents") != "":
					w.WriteHeader(http.StatusUnprocessableEntity)
					_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
				case watching:
					<-turn
					_, _ = io.WriteString(w, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410}}`)
				case wrong.Load():
					asked.Add(1)
					_, _ = io.WriteString(w, answer)
				default:
					_, _ = io.WriteString(w, good)
				}
			}))
			defer server.Close()
			o := options()
			o.Config = &rest.Config{Host: server.URL, QPS: -1}
			life(t, o, func(s *hub.Store) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := s.Wait(ctx, hub.Services); err != nil {
					t.Fatal(err)
				}
				w := follow(t, s, hub.Services)
				wrong.Store(true)
				close(turn)
				for asked.Load() < 2 && ctx.Err() == nil {
					time.Sleep(10 * time.Millisecond)
				}
				same(t, "services", []string{"till"}, names(t, s))
				wrong.Store(false)
				ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer cancel()
				if events, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("events %v, %v", events, err)
				}
			})
		})
	}
}

// TestQuiet: of a kind that rests nothing is said for minutes. A watch that the
// API server opens anew is a word from it, too.
func TestQuiet(t *testing.T) {
	var lists atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !strings.HasSuffix(r.URL.Path, "/services"): // whose first list is counted
			http.NotFound(w, r)
		case r.URL.Query().Get("sendInitialEvents") != "":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		case r.URL.Query().Get("watch") != "": // opens, and ends without a word
			w.(http.Flusher).Flush()            //nolint:forcetypeassert // net/http's
			time.Sleep(1100 * time.Millisecond) // sooner, and client-go lists again
		case lists.Add(1) > 1:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			_, _ = io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}`)
		}
	}))
	defer server.Close()
	o := options()
	o.Config = &rest.Config{Host: server.URL, QPS: -1}
	life(t, o, func(s *hub.Store) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := s.Wait(ctx, hub.Services); err != nil {
			t.Fatal(err)
		}
		listed := s.Stats()[0].Heard
		for opened := 0; opened < 2; time.Sleep(10 * time.Millisecond) {
			if ctx.Err() != nil {
				t.Fatal("a watch that was opened counts as silence")
			}
			if now := s.Stats()[0].Heard; now.After(listed) {
				listed, opened = now, opened+1
			}
		}
	})
}

// TestBegin: a Store that is to keep Services alone asks for nothing else, which
// it might not be allowed to.
func TestBegin(t *testing.T) {
	var others atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !strings.HasSuffix(r.URL.Path, "/services"):
			others.Add(1)
			http.NotFound(w, r)
		case r.URL.Query().Get("watch") != "":
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422}`)
		default:
			_, _ = io.WriteString(w, `{"kind":"ServiceList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[]}`)
		}
	}))
	defer server.Close()
	for _, begin := range [][]hub.Kind{{hub.Services}, nil} {
		o := options()
		o.Config, o.Begin = &rest.Config{Host: server.URL, QPS: -1}, begin
		others.Store(0)
		life(t, o, func(s *hub.Store) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for ctx.Err() == nil && s.Stats()[0].Heard.IsZero() {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(300 * time.Millisecond)
		})
		if more := others.Load() > 0; more != (begin == nil) {
			t.Errorf("to begin with %v: asked for more: %v", begin, more)
		}
	}
}

func names(t *testing.T, s *hub.Store) []string {
	t.Helper()
	items, _, err := s.List(hub.Services)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range items {
		out = append(out, i.Object.GetName())
	}
	return out
}
