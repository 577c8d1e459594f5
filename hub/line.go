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
	l.heard, l.lost = now, false
	return now
}

// lately reports whether the line has come back after a time.
func (l *line) lately(since time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.back.After(since)
}

// lose notes that a request had no answer.
func (l *line) lose(err error) {
	l.mu.Lock()
	was := l.lost
	l.lost = true
	l.mu.Unlock()
	if !was {
		l.log.Warn("api server does not answer the hub, going on with what is known", "err", err)
	}
}

// overheard lists and watches one kind, and its line hears the outcomes. One
// goroutine uses it, a reflector.
type overheard struct {
	*cache.ListWatch
	line    *line
	kind    Kind
	opened  func()              // told of each watch that the server opens
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
	if err == nil {
		o.opened()
	}
	return w, err
}

// outcome takes that of one request. A refusal is an answer; what a load
// balancer says in place of the server is none, and a caller who gives up early
// says nothing.
func (o *overheard) outcome(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	var answer apierrors.APIStatus
	if err != nil && !errors.As(err, &answer) {
		o.line.lose(err)
		return
	}
	var status metav1.Status
	if err != nil {
		status = answer.Status()
	}
	switch status.Code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) { // 504, too
			o.line.lose(err)
			return
		}
	}
	o.line.hear()
	ordinary := err == nil || apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err)
	if !ordinary && status.Reason != o.refused {
		o.line.log.Warn("api server refuses what the hub reads", "kind", o.kind.Resource, "err", err)
	}
	o.refused = status.Reason
}
