// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel"
)

// source keeps the View that all loops of this process read: built from the
// API and the host when they speak, loaded from disk when the API cannot be
// reached, saved to disk when it changes.
type source struct {
	objects  func() (fleet.Objects, error)
	host     func(context.Context, fleet.Objects) (fleet.Host, error)
	settings fleet.Settings
	path     string // of the saved View
	log      *slog.Logger
	changed  func() // called after each change of the View

	view  atomic.Pointer[fleet.View]
	notes atomic.Pointer[[]plan.Note] // what tunnel.Choose could not reach
	saved []byte                      // what path holds, without ReadAt
}

// Read returns the current View; reconcile.ErrNotReady before there is one.
func (s *source) Read() (fleet.View, error) {
	v := s.view.Load()
	if v == nil {
		return fleet.View{}, reconcile.ErrNotReady
	}
	return *v, nil
}

// Run refreshes the View at every wake and at least each half minute.
func (s *source) Run(ctx context.Context, wake <-chan struct{}) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		err := s.refresh(ctx)
		if err != nil && !errors.Is(err, reconcile.ErrNotReady) {
			s.log.Warn("view is not refreshed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-tick.C:
			if errors.Is(err, reconcile.ErrNotReady) {
				s.log.Warn("still waiting for the api server; nothing is set up", "err", err)
			}
		}
	}
}

// refresh builds a View and, if it differs from the current one, makes it
// current, saves it and wakes the loops.
func (s *source) refresh(ctx context.Context) error {
	objects, err := s.objects()
	if errors.Is(err, reconcile.ErrNotReady) && s.view.Load() == nil {
		return s.load()
	}
	if err != nil {
		return err
	}
	host, err := s.host(ctx, objects)
	if err != nil {
		return fmt.Errorf("look at the host: %w", err)
	}
	v, problems, err := fleet.Build(objects, host, s.settings)
	if err != nil {
		return err
	}
	var notes []plan.Note
	v.Links, notes = tunnel.Choose(v)
	s.notes.Store(&notes)
	return s.accept(v, problems)
}

func (s *source) accept(v fleet.View, problems []string) error {
	same := v
	same.ReadAt = time.Time{}
	b, err := fleet.Marshal(same)
	if err != nil {
		return err
	}
	if old := s.view.Load(); old != nil && !old.Stale && bytes.Equal(b, s.saved) {
		return nil
	}
	for _, p := range problems {
		s.log.Warn("left out of the view", "text", p)
	}
	s.view.Store(&v)
	s.saved = b
	s.changed()
	whole, err := fleet.Marshal(v)
	if err != nil {
		return err
	}
	if err := writeFile(s.path, whole, 0o600); err != nil {
		return fmt.Errorf("save view: %w", err)
	}
	return nil
}

// load takes the View of an earlier run: how a node that restarts while the
// cloud is away keeps its pods connected.
func (s *source) load() error {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, os.ErrNotExist) {
		return reconcile.ErrNotReady
	}
	if err != nil {
		return fmt.Errorf("load saved view: %w", err)
	}
	v, err := fleet.Unmarshal(b)
	if err != nil {
		return fmt.Errorf("load saved view %s: %w", s.path, err)
	}
	v.Settings = s.settings
	s.log.Warn("api server not reached yet, going on from the saved view", "readAt", v.ReadAt)
	s.view.Store(&v)
	s.changed()
	return nil
}
