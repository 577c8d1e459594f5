// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
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
	host     func(preferred []netip.Addr) (fleet.Host, error)
	settings fleet.Settings
	path     string // of the saved View
	log      *slog.Logger
	changed  func()                         // called after each change of the View
	note     func(by string, n []plan.Note) // hears what is left out, and why
	judge    func(*fleet.View, error)       // hears how each refresh went

	view    atomic.Pointer[fleet.View]
	current []byte // the current View without ReadAt, to tell whether another differs
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
		err := s.refresh()
		s.judge(s.view.Load(), err)
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
func (s *source) refresh() error {
	objects, err := s.objects()
	if errors.Is(err, reconcile.ErrNotReady) {
		return s.goOn(err)
	}
	if err != nil {
		return err
	}
	host, err := s.host(underlays(objects.Node))
	if err != nil {
		return fmt.Errorf("look at the host: %w", err)
	}
	v, problems, err := fleet.Build(objects, host, s.settings)
	if err != nil {
		return err
	}
	return s.accept(v, problems)
}

// goOn takes the View of an earlier run, with the host as it is now: how a
// node that restarts while the cloud is away, perhaps with another address,
// keeps its pods connected.
func (s *source) goOn(notReady error) error {
	v, err := s.load()
	if errors.Is(err, fs.ErrNotExist) {
		return notReady
	}
	if err != nil {
		return err
	}
	host, err := s.host([]netip.Addr{v.Self.Underlay4.Addr, v.Self.Underlay6.Addr})
	if err != nil {
		return fmt.Errorf("look at the host: %w", err)
	}
	v.Self.Underlay4, v.Self.Underlay6, v.Self.LinkKey = host.Underlay4, host.Underlay6, host.LinkKey
	v.Settings = s.settings
	return s.accept(v, nil)
}

// load returns the current View if it is a saved one already, else reads it.
func (s *source) load() (fleet.View, error) {
	if v := s.view.Load(); v != nil {
		return *v, nil
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return fleet.View{}, fmt.Errorf("load saved view: %w", err)
	}
	v, err := fleet.Unmarshal(b)
	if err != nil {
		return fleet.View{}, fmt.Errorf("load saved view %s: %w", s.path, err)
	}
	s.log.Warn("api server not reached yet, going on from the saved view", "readAt", v.ReadAt)
	return v, nil
}

// accept makes v the current View unless it says what the current one does.
func (s *source) accept(v fleet.View, problems []string) error {
	var notes []plan.Note
	v.Links, notes = tunnel.Choose(v)
	s.note("tunnel", notes)
	same := v
	same.ReadAt = time.Time{}
	b, err := fleet.Marshal(same)
	if err != nil {
		return err
	}
	if bytes.Equal(b, s.current) {
		return nil
	}
	for _, p := range problems {
		s.log.Warn("left out of the view", "text", p)
	}
	s.view.Store(&v)
	s.current = b
	s.changed()
	if v.Stale {
		return nil // it came from the file
	}
	whole, err := fleet.Marshal(v)
	if err != nil {
		return err
	}
	if err := writeFile(s.path, whole, 0o600); err != nil {
		return fmt.Errorf("save view: %w", err)
	}
	return nil
}
