// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/access"
)

const (
	// headerTime is how long a caller may take for its handshake and for the
	// header of a request; idleTime, how long it may keep a connection for later.
	headerTime = 10 * time.Second
	idleTime   = 3 * time.Minute
	// headerMost is what a header may have; kubectl exec puts commands into it.
	headerMost = 256 << 10
	// connsMost connections, and of each caller that many requests under way.
	connsMost               = 2048
	watchesEach, watchesAll = 128, 1024
	readsEach, readsAll     = 64, 256
	passedMost              = 1024
	// drainTime is how long an answer may take to end when the server stops.
	drainTime = 5 * time.Second
)

// Reviewer says who callers are and what they may. *access.Reviewer is one.
type Reviewer interface {
	Who(ctx context.Context, token string) (access.User, error)
	May(ctx context.Context, u access.User, d access.Deed) error
}

// Options of a Server; all of them must be set, Certificate only for Serve,
// Listed by who wants it.
type Options struct {
	Store *hub.Store
	// Upstream is how to reach the API server. Its credentials are not used.
	Upstream *rest.Config
	Review   Reviewer
	// Node is the own node, the one that is answered for from the Store.
	Node string
	// Certificate is for tls.Config.GetCertificate.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Listed is told how long the answer to a list took, to its last byte.
	Listed func(took time.Duration)
	// Now is the clock, a real one: time limits of connections go by it.
	Now func() time.Time
	Log *slog.Logger
}

// Server answers like an API server.
type Server struct {
	o       Options
	pass    http.Handler
	pages   pages
	watches *crowd
	reads   *crowd
	passed  *crowd
	// stopping is done when watches must end.
	stopping context.Context //nolint:containedctx // it is of the server and of no request
	stop     context.CancelFunc

	watchers                    atomic.Int64
	answered, refused, passedOn atomic.Uint64
}

// New makes a Server.
func New(o Options) (*Server, error) {
	s := &Server{
		o: o, watches: newCrowd(watchesEach, watchesAll), reads: newCrowd(readsEach, readsAll),
		passed: newCrowd(passedMost, passedMost),
	}
	s.stopping, s.stop = context.WithCancel(context.Background())
	var err error
	s.pass, err = s.newPass(o.Upstream)
	return s, err
}

// Handler answers requests.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serve) }

// Serve accepts callers from l, which it closes, until ctx ends, and returns
// nil then. It can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerMost,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: s.o.Certificate},
		ErrorLog:          slog.NewLogLogger(s.o.Log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(netutil.LimitListener(l, connsMost), "", "") }()
	select {
	case err := <-done:
		return fmt.Errorf("serve the hub: %w", err)
	case <-ctx.Done():
	}
	s.stop()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		_ = server.Close() // what has not ended by now is cut
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the hub: %w", err)
	}
	return nil
}

// Stats are counts since the start, and what is under way.
type Stats struct {
	// Answered were from the Store, Refused were not, Passed went to the API
	// server.
	Answered, Refused, Passed uint64
	Watchers                  int64
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	return Stats{s.answered.Load(), s.refused.Load(), s.passedOn.Load(), s.watchers.Load()}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	q, ours, err := route(r, s.o.Node)
	if !ours {
		s.passOn(w, r)
		return
	}
	if err == nil {
		err = s.answer(w, r, q)
	}
	if err == nil {
		s.answered.Add(1)
		return
	}
	s.refused.Add(1)
	s.refuse(w, r, err)
}

func (s *Server) passOn(w http.ResponseWriter, r *http.Request) {
	leave, err := s.passed.enter("")
	if err != nil {
		s.refused.Add(1)
		s.refuse(w, r, err)
		return
	}
	defer leave()
	s.passedOn.Add(1)
	s.pass.ServeHTTP(w, r)
}

// answer answers from the Store, or returns why it does not. It asks in the
// order of an API server: who, may, in which form, with which options.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, q question) error {
	user, err := s.caller(r, q.deed())
	if err != nil {
		return err
	}
	crowd := s.reads
	if q.verb == verbWatch {
		crowd = s.watches
	}
	leave, err := crowd.enter(user.Name)
	if err != nil {
		return err
	}
	defer leave()
	f, ok := negotiate(r, true)
	if !ok {
		return errNotAcceptable(q.verb)
	}
	if err := f.suits(q); err != nil {
		return err
	}
	if q.err != nil {
		return q.err
	}
	if f.as == asTable {
		if f.include, err = includeOf(q.query); err != nil {
			return err
		}
	}
	switch q.verb {
	case verbWatch:
		return s.watch(w, r, q, f)
	case verbList:
		began := s.o.Now()
		err := s.list(w, r, q, f)
		if err == nil && s.o.Listed != nil {
			s.o.Listed(s.o.Now().Sub(began))
		}
		return err
	default:
		return s.get(w, r, q, f)
	}
}

// caller returns who asks, if he may. Only tokens are looked at: a certificate
// would have to be one of the cluster's, whose authority for clients a node
// need not know.
func (s *Server) caller(r *http.Request, d access.Deed) (access.User, error) {
	user, err := s.o.Review.Who(r.Context(), bearer(r))
	if err != nil {
		return user, err
	}
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") {
			gr := schema.GroupResource{Group: d.Group, Resource: d.Resource}
			return user, apierrors.NewForbidden(gr, d.Name, errors.New("the hub answers for the caller himself only: impersonation is the API server's"))
		}
	}
	if r.Header.Get("Upgrade") != "" {
		return user, apierrors.NewBadRequest("the hub watches over plain HTTP only")
	}
	err = s.o.Review.May(r.Context(), user, d)
	if no, ok := errors.AsType[*access.ForbiddenError](err); ok {
		return user, errForbidden(user, d, no.Reason)
	}
	return user, err
}

// bearer returns the token of a request, "" if it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}
