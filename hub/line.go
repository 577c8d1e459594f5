// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// line remembers whether the API server answers the reflectors. It asks nothing
// itself: a watch that dies is asked for again at once, and client-go pings a
// connection that has been silent for half a minute.
type line struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	heard time.Time
	lost  bool
	said  bool      // that it is lost, to the log
	back  time.Time // when it last answered after it had not
}

func newLine(o Options) *line { return &line{log: o.Log, now: o.Now} }

func (l *line) online() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lost && !l.heard.IsZero()
}

func (l *line) last() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard
}

// hear notes that the API server has said something, and returns when.
func (l *line) hear() time.Time {
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		l.back = now
	}
	l.heard, l.lost, l.said = now, false, false
	return now
}

// returned is when the line last came back; zero: it was never lost.
func (l *line) returned() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back
}

// lose notes that a request had no answer.
func (l *line) lose(err error) {
	l.silent()
	l.mu.Lock()
	was := l.said
	l.said = true
	l.mu.Unlock()
	if !was {
		l.log.Warn("api server does not answer the hub, going on with what is known", "err", err)
	}
}

// silent notes that the API server has said nothing for too long, long before
// the first request gives up.
func (l *line) silent() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
}

// ear hears what becomes of the requests for one kind. It is below client-go's
// own retries: a Watch that cannot even connect waits there for minutes, and
// then returns as one that has opened and ended.
// Source: k8s.io/client-go/rest, Request.Watch.
type ear struct {
	http.RoundTripper
	line   *line
	opened func() // told of each watch that the server opens
}

// RoundTrip is part of http.RoundTripper.
func (e ear) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := e.RoundTripper.RoundTrip(r)
	switch {
	case r.Context().Err() != nil: // a caller who gives up says nothing
	case err != nil:
		e.line.lose(err)
	case answer.StatusCode == http.StatusOK:
		e.line.hear()
		if r.URL.Query().Get("watch") != "" {
			e.opened()
		}
	}
	return answer, err
}

// overheard lists and watches one kind, and its line hears the outcomes. One
// goroutine uses it, a reflector.
type overheard struct {
	*cache.ListWatch
	line    *line
	kind    Kind
	refused metav1.StatusReason // as last said
}

func (o *overheard) ListWithContext(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
	list, err := o.ListWatch.ListWithContext(ctx, opts)
	if err == nil {
		err = o.kind.isList(list)
	}
	o.outcome(ctx, err)
	if err != nil {
		return nil, err
	}
	return list, nil
}

func (o *overheard) WatchWithContext(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	w, err := o.ListWatch.WatchWithContext(ctx, opts)
	o.outcome(ctx, err)
	return w, err
}

// outcome takes that of one request. A refusal is an answer; what a load
// balancer says in place of the server is none.
func (o *overheard) outcome(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	if err == nil { // the ear knows more
		o.refused = ""
		return
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		o.line.lose(err)
		return
	}
	status := answer.Status()
	switch status.Code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) { // 504, too
			o.line.lose(err)
			return
		}
	}
	o.line.hear()
	ordinary := apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err)
	if !ordinary && status.Reason != o.refused {
		o.line.log.Warn("api server refuses what the hub reads", "kind", o.kind.Resource, "err", err)
	}
	o.refused = status.Reason
}
