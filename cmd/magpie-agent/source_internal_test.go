// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/health"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// world is what a source reads, as the test sets it.
type world struct {
	objects fleet.Objects
	err     error
	addr    string // of the underlay
	rings   int
}

func (w *world) source(path string) *source {
	return &source{
		objects: func() (fleet.Objects, error) { return w.objects, w.err },
		host: func([]netip.Addr) (fleet.Host, error) {
			return fleet.Host{
				Underlay4: fleet.Underlay{Dev: "eth0", Addr: netip.MustParseAddr(w.addr), MTU: 1500},
				LinkKey:   "key", Now: time.Now(),
			}, nil
		},
		settings: fleet.Settings{VNI: 1, Port: 8472, Links: true},
		path:     path, log: slog.New(slog.DiscardHandler), changed: func() { w.rings++ },
		note: func(string, []plan.Note) {}, judge: func(*fleet.View, error) {},
	}
}

func online() *world {
	return &world{
		addr: "192.168.1.11",
		objects: fleet.Objects{
			Node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a-1"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.42.3.0/24"}}},
			Slices: []v1alpha1.DomainSlice{{Spec: v1alpha1.DomainSliceSpec{Domain: "gw-shop-a", Nodes: []v1alpha1.SliceNode{
				{Name: "a-1", Addresses: []string{"192.168.1.11"}, PodCIDRs: []string{"10.42.3.0/24"}},
			}}}},
		},
	}
}

func TestSourceIsNotReadyBeforeAnythingIsKnown(t *testing.T) {
	w := &world{err: reconcile.ErrNotReady, addr: "192.168.1.11"}
	s := w.source(filepath.Join(t.TempDir(), "fleet.json"))
	if err := s.refresh(); !errors.Is(err, reconcile.ErrNotReady) {
		t.Fatalf("refresh: %v", err)
	}
	if _, err := s.Read(); !errors.Is(err, reconcile.ErrNotReady) {
		t.Fatalf("unknown was taken for empty: %v", err)
	}
}

func TestSourceWakesAndSavesOnlyOnChange(t *testing.T) {
	w := online()
	path := filepath.Join(t.TempDir(), "fleet.json")
	s := w.source(path)
	for range 3 {
		if err := s.refresh(); err != nil {
			t.Fatal(err)
		}
	}
	if w.rings != 1 {
		t.Errorf("woke the loops %d times for one change", w.rings)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.refresh(); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); !os.SameFile(before, after) {
		t.Error("the file was written again although nothing changed")
	}
	w.addr = "192.168.1.99" // DHCP gave another address
	if err := s.refresh(); err != nil || w.rings != 2 {
		t.Errorf("a new underlay address: rings %d, err %v", w.rings, err)
	}
}

// TestSourceGoesOnFromTheSavedView restarts while the API server is away and
// the host has another address.
func TestSourceGoesOnFromTheSavedView(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.json")
	if err := online().source(path).refresh(); err != nil {
		t.Fatal(err)
	}
	w := &world{err: reconcile.ErrNotReady, addr: "192.168.1.99"}
	s := w.source(path)
	if err := s.refresh(); err != nil {
		t.Fatal(err)
	}
	v, err := s.Read()
	if err != nil {
		t.Fatal(err)
	}
	if !v.Stale || v.Self.Domain != "gw-shop-a" || v.Self.Underlay4.Addr.String() != "192.168.1.99" {
		t.Errorf("view: stale %v, self %+v", v.Stale, v.Self)
	}
	live := online()
	s.objects = func() (fleet.Objects, error) { return live.objects, nil }
	if err := s.refresh(); err != nil {
		t.Fatal(err)
	}
	if v, _ := s.Read(); v.Stale {
		t.Error("still stale although the API server answers")
	}
}

func TestSourceKeepsWhatItHasWhenTheFileIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fleet.json")
	if err := os.WriteFile(path, []byte(`{"version":1,"view":{"self":`), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{err: reconcile.ErrNotReady, addr: "192.168.1.11"}
	if err := w.source(path).refresh(); err == nil || errors.Is(err, reconcile.ErrNotReady) {
		t.Errorf("a damaged file is not reported: %v", err)
	}
}

func TestKeyringKeepsItsKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "link.key")
	first, err := openKeyring(path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := openKeyring(path)
	if err != nil || first.Public() != second.Public() {
		t.Fatalf("another key after a restart: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, err %v", st.Mode(), err)
	}
	if _, ok := first.PrivateKey("another"); ok {
		t.Error("gave the key away for a public key that is not its own")
	}
	if err := os.WriteFile(path, []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyring(path); err == nil {
		t.Error("a damaged key was replaced by another: every peer would have to learn it")
	}
}

// TestJudge tells a fight with another program from what the loop does of its
// own accord.
func TestJudge(t *testing.T) {
	now := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	c := newConditions(func() time.Time { return now })
	j := judge{conditions: c}
	want := plan.Plan{Routes: []plan.Route{{Dst: netip.MustParsePrefix("10.42.1.0/24"), Dev: "mag-vxlan"}}}
	shown := func() (codes []health.Code) {
		for _, f := range c.tracker.Shown(now) {
			codes = append(codes, f.Code)
		}
		return codes
	}
	round := func(p plan.Plan, steps int, err error) {
		now = now.Add(5 * time.Second)
		j.wants(p)
		j.round(reconcile.Round{Loop: "vxlan", At: now, Steps: steps, Err: err})
	}
	round(plan.Plan{}, 0, nil)
	round(want, 1, nil)
	for range 5 {
		round(want, 0, nil)
	}
	if got := shown(); len(got) != 0 {
		t.Fatalf("a change of plan is shown as %v", got)
	}
	for range 8 {
		round(want, 1, nil)
	}
	if got := shown(); len(got) != 1 || got[0] != health.ForeignWriter {
		t.Fatalf("repairs every five seconds are shown as %v", got)
	}
	for range 13 {
		round(want, 0, nil)
	}
	for range 5 {
		round(want, 0, errors.New("no buffer space"))
	}
	if got := shown(); len(got) != 1 || got[0] != health.LoopFailing {
		t.Fatalf("lasting failure is shown as %v", got)
	}
}
