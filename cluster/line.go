// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// line remembers whether the API server answers this process. It listens to
// what is asked anyway and asks nothing itself: a watch that dies is asked for
// again at once, and client-go pings a connection that has been silent for
// half a minute, so that a cut cable is noticed within a minute at no cost.
type line struct {
	log     *slog.Logger
	changed func() // called when the server stops answering, and when it answers again

	mu    sync.Mutex
	since time.Time // when it began not to answer; zero while it does
	err   error     // of the last request without an answer
}

// on returns a copy of cfg whose requests pass this line.
func (l *line) on(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return overheard{l, next} })
	return cfg
}

// lost returns since when the server has not answered, and the last error; the
// zero time and nil while it answers.
func (l *line) lost() (time.Time, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since, l.err
}

// heard takes the outcome of one request.
func (l *line) heard(err error, at time.Time) {
	l.mu.Lock()
	was := !l.since.IsZero()
	if l.err = err; err == nil {
		l.since = time.Time{}
	} else if !was {
		l.since = at
	}
	l.mu.Unlock()
	if was == (err != nil) {
		return
	}
	if err != nil {
		l.log.Warn("api server does not answer, going on with what is known", "err", err)
	} else {
		l.log.Info("api server answers")
	}
	l.changed()
}

// overheard is a transport whose outcomes a line hears.
type overheard struct {
	line *line
	next http.RoundTripper
}

// RoundTrip is part of http.RoundTripper. A refusal is an answer; what a load
// balancer says in place of the server is none. A caller who gives up early
// says nothing about the server.
func (o overheard) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := o.next.RoundTrip(r)
	heard := err
	if err == nil {
		switch answer.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			heard = fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, answer.Status)
		}
	}
	if !errors.Is(r.Context().Err(), context.Canceled) {
		o.line.heard(heard, time.Now()) //nolint:forbidigo // where time enters
	}
	return answer, err
}
