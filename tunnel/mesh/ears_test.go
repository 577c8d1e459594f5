// SPDX-License-Identifier: Apache-2.0

package mesh_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/tunnel/mesh"
)

// TestEars lets one peer speak and fall silent, in virtual time.
func TestEars(t *testing.T) {
	start := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	type moment struct {
		at        int   // seconds
		rx        int64 // bytes
		handshake int   // seconds; -1 for none
		live      bool
		changed   bool
	}
	for _, c := range []struct {
		name    string
		hello   bool
		moments []moment
	}{
		{"never heard", true, []moment{{0, 0, -1, false, true}, {100, 0, -1, false, false}}},
		{"first packet", true, []moment{{0, 0, -1, false, true}, {2, 148, 1, true, true}, {4, 148, 1, true, false}}},
		{"steady", true, []moment{{0, 100, 0, true, true}, {10, 200, 0, true, false}, {39, 300, 0, true, false}, {60, 400, 0, true, false}}},
		{"cut", true, []moment{{0, 100, 0, true, true}, {29, 100, 0, true, false}, {30, 100, 0, false, true}, {90, 100, 0, false, false}}},
		{"back", true, []moment{{0, 100, 0, true, true}, {40, 100, 0, false, true}, {42, 248, 41, true, true}}},
		{"new device counts from nought", true, []moment{{0, 900, 0, true, true}, {29, 92, 28, true, false}, {58, 92, 28, true, false}, {59, 92, 28, false, true}}},
		{"agent restarts beside a session", true, []moment{{150, 900, 0, true, true}, {179, 900, 0, true, false}, {180, 900, 0, false, true}}},
		{"agent restarts beside a dead session", true, []moment{{180, 900, 0, false, true}}},
		{"kept warm only", false, []moment{{0, 100, 0, true, true}, {200, 100, 0, true, false}, {240, 100, 0, false, true}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e mesh.Ears
			for _, m := range c.moments {
				s := mesh.Sound{Peer: "k", Rx: m.rx, Hello: c.hello}
				if m.handshake >= 0 {
					s.Handshake = start.Add(time.Duration(m.handshake) * time.Second)
				}
				changed := e.Listen(start.Add(time.Duration(m.at)*time.Second), []mesh.Sound{s})
				if _, live := e.Heard("k"); live != m.live || changed != m.changed {
					t.Errorf("at %d s: live %v, changed %v; want %v, %v", m.at, live, changed, m.live, m.changed)
				}
			}
		})
	}
}

func TestEarsForgetWhoLeft(t *testing.T) {
	var e mesh.Ears
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	e.Listen(now, []mesh.Sound{{Peer: "a", Rx: 1, Handshake: now}, {Peer: "b", Rx: 1, Handshake: now}})
	if !e.Listen(now, []mesh.Sound{{Peer: "b", Rx: 1, Handshake: now}}) {
		t.Error("nobody was told that a peer left")
	}
	if last, live := e.Heard("a"); live || !last.IsZero() {
		t.Errorf("a peer that left: live %v, heard %s", live, last)
	}
}

// TestLivenessIsPrompt: a cut must show in well under a minute, and one lost
// hello must not.
func TestLivenessIsPrompt(t *testing.T) {
	if api.LinkSilence > 40 || api.LinkSilence < 2*api.LinkHello+5 {
		t.Errorf("hello every %d s, silent after %d s", api.LinkHello, api.LinkSilence)
	}
}

// TestHellos: only to peers that carry traffic, at the address of their own
// device.
func TestHellos(t *testing.T) {
	for name, want := range map[string][]string{
		"cloud":        {"BBBB 10.42.5.0:9"},
		"edge-elected": {"2222 10.42.2.0:9"},
		"edge-standby": nil,
		"no-gateway":   nil,
	} {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile("testdata/" + name + ".txtar")
			if err != nil {
				t.Fatal(err)
			}
			var v fleet.View
			for _, f := range txtar.Parse(b).Files {
				if f.Name == "in.json" {
					err = json.Unmarshal(f.Data, &v)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range mesh.Hellos(v) {
				got = append(got, fmt.Sprintf("%.4s %s", h.Peer, h.To))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
