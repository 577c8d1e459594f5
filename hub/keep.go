// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

const (
	// patience is how long the API server has at the start before the disk is
	// believed in its place.
	patience = 2 * time.Second
	// leastGap and writeRate (bytes a second) say how often a truth is written
	// that changes all the time: every few seconds a small one, every few
	// minutes one of a large cluster. Memory cards at the edge wear out.
	leastGap  = 5 * time.Second
	writeRate = 64 << 10
)

// keep loads the truth of a kind from disk, if the API server does not tell it,
// and then writes it when it has changed.
func (s *Store) keep(ctx context.Context, sh *shelf) {
	if s.o.Dir == "" {
		return
	}
	select {
	case <-ctx.Done():
	case <-sh.fresh:
	case <-time.After(patience):
		s.load(sh)
	}
	d := disk{s: s, sh: sh, path: s.path(sh.kind)}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-sh.dirty:
			sleep(ctx, d.gap())
			d.save()
		}
	}
	select {
	case <-sh.dirty:
		d.save()
	default: // it is on disk
	}
}

func (s *Store) path(k Kind) string { return filepath.Join(s.o.Dir, k.Resource+".truth") }

// load takes over what is on disk unless the API server has been faster.
func (s *Store) load(sh *shelf) {
	path := s.path(sh.kind)
	objects, err := readTruth(path, sh.kind, s.o.Cluster)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.o.Log.Warn("a truth on disk is not used", "path", path, "err", err)
		}
		return
	}
	s.mu.Lock()
	defer s.unlock()
	if sh.known {
		return
	}
	s.line.silent()
	s.replace(sh, objects)
	s.moved = s.moved || sh.kind == Services
	sh.known, sh.stale = true, true
	s.settle()
	s.o.Log.Info("api server is silent, going on with what is on disk", "kind", sh.kind.Resource, "objects", len(objects))
}

// disk writes one kind.
type disk struct {
	s      *Store
	sh     *shelf
	path   string
	size   int64
	failed bool
}

// gap is how long to wait for more changes before the next write.
func (d *disk) gap() time.Duration {
	return max(leastGap, time.Duration(d.size/writeRate)*time.Second)
}

// save writes the truth. A full disk costs the next start its memory, not this
// process its work: it is said once, and tried again.
func (d *disk) save() {
	d.s.mu.Lock()
	for len(d.sh.dirty) > 0 { // what comes from here on is not in it
		<-d.sh.dirty
	}
	known := d.sh.known && !d.sh.stale
	objects := d.sh.truths()
	d.s.mu.Unlock()
	if !known {
		return
	}
	h := heading{Format: formatVersion, Cluster: d.s.o.Cluster, Kind: d.sh.kind.Resource, Objects: len(objects)}
	size, err := writeTruth(d.path, h, objects)
	switch {
	case err != nil && !d.failed:
		d.s.o.Log.Warn("the truth is not written to disk", "path", d.path, "err", err)
	case err == nil && d.failed:
		d.s.o.Log.Info("the truth is written to disk again", "path", d.path)
	}
	d.failed = err != nil
	if err == nil {
		d.size = size
	} else {
		d.sh.soil()
	}
}

// sleep waits, or less if ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
