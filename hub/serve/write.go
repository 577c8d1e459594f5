// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
)

const (
	// squeezeFrom is the size from which an answer is compressed, as API servers
	// do: below, it costs more time than it saves.
	squeezeFrom = 128 << 10
	// squeezeLevel is the fastest: the caller is on this node.
	squeezeLevel = gzip.BestSpeed
	// stall is how long a caller may not read before its answer ends.
	stall = 30 * time.Second
)

// answer is what is written back.
type answer struct {
	form
	code   int
	object runtime.Object
}

// write writes an answer. There is nobody to tell what goes wrong meanwhile.
func (s *Server) write(w http.ResponseWriter, r *http.Request, a answer) {
	h := w.Header()
	h.Set("Content-Type", a.media)
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	out := &squeezer{w: w, code: a.code, pace: s.pace(w), squeezes: acceptsGzip(r)}
	if err := errors.Join(a.encoder.Encode(a.object, out), out.Close()); err != nil && r.Context().Err() == nil {
		s.o.Log.Debug("answer ends early", "path", r.URL.Path, "err", err)
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
}

// acceptsGzip reads Accept-Encoding as API servers do, without weights.
func acceptsGzip(r *http.Request) bool {
	for e := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if e = strings.TrimSpace(e); e == "gzip" || e == "*" {
			return true
		}
	}
	return false
}

// pace gives a caller time to read what is written next, and after that no
// limit, since a limit would end an HTTP/2 stream that is idle.
type pace struct {
	control *http.ResponseController
	now     func() time.Time
}

func (s *Server) pace(w http.ResponseWriter) pace {
	return pace{http.NewResponseController(w), s.o.Now}
}

// begin and end enclose writing. A connection that knows no limits is none that
// we accept, so the error is nobody's.
func (p pace) begin() { _ = p.control.SetWriteDeadline(p.now().Add(stall)) }
func (p pace) end()   { _ = p.control.SetWriteDeadline(time.Time{}) }

// squeezer keeps back the begin of an answer until it is long enough to be
// compressed, or over.
type squeezer struct {
	w        http.ResponseWriter
	code     int
	pace     pace
	squeezes bool

	begun  bool
	kept   []byte
	zipper *gzip.Writer
}

// Write is part of io.Writer.
func (q *squeezer) Write(p []byte) (int, error) {
	switch {
	case q.begun:
		return len(p), q.pass(p)
	case q.squeezes && len(q.kept)+len(p) < squeezeFrom:
		q.kept = append(q.kept, p...)
		return len(p), nil
	default:
		return len(p), q.begin(p, q.squeezes)
	}
}

// begin writes the header, what was kept back, and p.
func (q *squeezer) begin(p []byte, squeeze bool) error {
	q.begun = true
	if squeeze {
		q.w.Header().Set("Content-Encoding", "gzip")
		q.w.Header().Add("Vary", "Accept-Encoding")
		var err error
		if q.zipper, err = gzip.NewWriterLevel(q.w, squeezeLevel); err != nil {
			return fmt.Errorf("compress answer: %w", err)
		}
	}
	q.w.WriteHeader(q.code)
	kept := q.kept
	q.kept = nil
	return errors.Join(q.pass(kept), q.pass(p))
}

func (q *squeezer) pass(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	q.pace.begin()
	var err error
	if q.zipper != nil {
		_, err = q.zipper.Write(p)
	} else {
		_, err = q.w.Write(p)
	}
	return err
}

// Close writes what is left.
func (q *squeezer) Close() error {
	var err error
	if !q.begun {
		err = q.begin(nil, false)
	}
	if q.zipper != nil {
		err = errors.Join(err, q.zipper.Close())
	}
	q.pace.end()
	return err
}
