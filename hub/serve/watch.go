// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/magpie-edge/magpie/hub"
)

const (
	// bookmarkEvery is how often a watch says up to where it has told all.
	bookmarkEvery = time.Minute
	// watchLeast and up to as much again is how long a watch lasts whose caller
	// does not say, as with an API server.
	watchLeast = 30 * time.Minute
)

// The types of events that are not changes.
const (
	eventBookmark hub.EventType = "BOOKMARK"
	eventError    hub.EventType = "ERROR"
)

// watch is one watch that is being answered.
type watch struct {
	q    question
	f    form
	want filter
	now  func() time.Time
	feed *hub.Watch
	// initial is what is told first.
	initial []hub.Item
	end     time.Time
	w       http.ResponseWriter
	pace    pace
}

// watch answers with what happens from now on, until the caller has enough.
func (s *Server) watch(w http.ResponseWriter, r *http.Request, q question, f form) error {
	v := &watch{q: q, f: f, want: q.filter(), now: s.o.Now, w: w, pace: s.pace(w)}
	gone := false
	err := s.known(r.Context(), q.Kind, func() error {
		err := v.begin(s.o.Store)
		gone = errors.Is(err, hub.ErrGone)
		return err
	})
	if err != nil && !gone {
		return err
	}
	if v.feed != nil {
		defer v.feed.Close()
	}
	lasts := watchLeast + rand.N(watchLeast)
	if t := q.options.TimeoutSeconds; t != nil && *t > 0 {
		lasts = time.Duration(*t) * time.Second
	}
	v.end = v.now().Add(lasts)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()

	h := w.Header()
	h.Set("Content-Type", f.contentType(verbWatch))
	h.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(http.StatusOK)
	s.watchers.Add(1)
	defer s.watchers.Add(-1)
	if gone {
		err = v.expired()
	} else {
		err = v.run(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.o.Log.Debug("watch ends early", "path", r.URL.Path, "err", err)
	}
	return nil
}

// begin finds where the watch starts, by the rules for resourceVersion and
// sendInitialEvents. hub.ErrGone is for run to tell.
// Source: kubernetes.io/docs/reference/using-api/api-concepts, Resource versions.
func (v *watch) begin(store *hub.Store) error {
	o := v.q.options
	asked, err := readVersion(o.ResourceVersion)
	if err != nil {
		return err
	}
	initial := o.SendInitialEvents != nil && *o.SendInitialEvents
	if asked > 0 && !initial {
		v.feed, err = store.Watch(v.q.Kind, asked)
		if errors.Is(err, hub.ErrTooNew) {
			return tooNewNow(store, v.q.Kind, asked)
		}
		return err
	}
	items, newest, feed, err := store.Follow(v.q.Kind)
	switch {
	case err != nil:
		return err
	case asked > newest:
		feed.Close()
		return errTooNew(asked, newest)
	}
	v.feed = feed
	if initial {
		v.initial, _ = v.want.pick(items, 0)
	}
	return nil
}

func tooNewNow(store *hub.Store, kind hub.Kind, asked uint64) error {
	_, newest, err := store.List(kind)
	if err != nil {
		return err
	}
	return errTooNew(asked, newest)
}

// run tells what there is and what happens, and returns nil when the time is
// over.
func (v *watch) run(ctx context.Context) error {
	if err := v.tellInitial(); err != nil {
		return err
	}
	marks := v.q.options.AllowWatchBookmarks
	next := v.now().Add(bookmarkEvery)
	for {
		due := v.end
		if marks && next.Before(due) {
			due = next
		}
		wait, cancel := context.WithDeadline(ctx, due)
		events, err := v.feed.Next(wait)
		cancel()
		switch {
		case errors.Is(err, hub.ErrGone):
			return v.expired()
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			err = v.tell(events)
		default: // due
			err = nil
		}
		now := v.now()
		over := !now.Before(v.end)
		if err == nil && marks && (over || !now.Before(next)) {
			err = v.mark(false)
			next = now.Add(bookmarkEvery)
		}
		if err != nil || over {
			return err
		}
	}
}

// tellInitial tells what there is, if that is wanted, and that this was all. If
// not, it tells at least that the watch has begun.
func (v *watch) tellInitial() error {
	v.pace.begin()
	defer v.pace.end()
	for _, item := range v.initial {
		if err := v.send(hub.Added, item.Object, item.Version); err != nil {
			return err
		}
	}
	v.initial = nil
	o := v.q.options
	if o.SendInitialEvents != nil && *o.SendInitialEvents && o.AllowWatchBookmarks {
		return v.mark(true)
	}
	return v.pace.control.Flush()
}

// tell tells those of the events that are wanted.
func (v *watch) tell(events []hub.Event) error {
	v.pace.begin()
	defer v.pace.end()
	told := false
	for _, e := range events {
		t, o := v.want.see(e)
		if o == nil {
			continue
		}
		told = true
		if err := v.send(t, o, e.Version); err != nil {
			return err
		}
	}
	if !told {
		return nil
	}
	return v.pace.control.Flush()
}

// mark sends a bookmark: everything up to there has been told.
func (v *watch) mark(initial bool) error {
	v.pace.begin()
	defer v.pace.end()
	version := v.feed.Version()
	if err := v.send(eventBookmark, v.q.bookmark(version, initial), version); err != nil {
		return err
	}
	return v.pace.control.Flush()
}

// send writes one event. The columns of a table go with the first only.
func (v *watch) send(t hub.EventType, o hub.Object, version uint64) error {
	text, err := v.f.frame(t, v.q.answer(o, strconv.FormatUint(version, 10), v.f, v.now()))
	v.f.noHeaders = true
	return v.out(text, err)
}

// expired tells that the caller must list again.
func (v *watch) expired() error {
	v.pace.begin()
	defer v.pace.end()
	why := apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %s", v.q.options.ResourceVersion))
	text, err := v.f.frame(eventError, fault(why))
	return errors.Join(v.out(text, err), v.pace.control.Flush())
}

func (v *watch) out(text []byte, err error) error {
	if err == nil {
		_, err = v.w.Write(text)
	}
	return err
}
