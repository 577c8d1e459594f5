// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/magpie-edge/magpie/cni"
)

// memory is a Store that can lose what a crash loses.
type memory struct {
	b    []byte
	cut  int // the next Append keeps this many bytes and fails; -1: none
	fail error
}

func (m *memory) Load() ([]byte, error) { return bytes.Clone(m.b), nil }

func (m *memory) Append(b []byte) error {
	if m.cut >= 0 {
		m.b = append(m.b, b[:min(m.cut, len(b))]...)
		m.cut = -1
		return m.fail
	}
	m.b = append(m.b, b...)
	return nil
}

func (m *memory) Replace(b []byte) error { m.b = bytes.Clone(b); return nil }

func newMemory() *memory { return &memory{cut: -1, fail: errors.New("no space left on device")} }

func openLedger(t *testing.T, m *memory, boot string) *cni.Ledger {
	t.Helper()
	l, err := cni.OpenLedger(m, boot)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

var (
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	both  = cni.Wish{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.3.0/24"), netip.MustParsePrefix("fd42:3::/64")}}
	small = cni.Wish{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.3.0/29")}} // .2 to .6
)

func podNamed(name string) cni.Pod {
	return cni.Pod{Key: cni.Key{Container: name, IfName: "eth0"}, NetNS: "/run/netns/" + name, Namespace: "default", Name: name}
}

func reserve(t *testing.T, l *cni.Ledger, name string, w cni.Wish, now time.Time) cni.Pod {
	t.Helper()
	p, err := l.Reserve(podNamed(name), w, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestLedgerGivesOneAddressAFamilyAndReusesTheLongestRested(t *testing.T) {
	l := openLedger(t, newMemory(), "boot")
	p := reserve(t, l, "a", both, noon)
	want := []netip.Addr{netip.MustParseAddr("10.42.3.2"), netip.MustParseAddr("fd42:3::2")}
	if diff := cmp.Diff(want, p.Addrs, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	l = openLedger(t, newMemory(), "boot")
	now := noon
	var got []string
	take := func(name string) {
		got = append(got, reserve(t, l, name, small, now).Addrs[0].String())
	}
	give := func(name string) {
		if err := l.Release(cni.Key{Container: name, IfName: "eth0"}, now); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	take("a")
	give("a")
	take("b") // .3: .2 rests
	take("c")
	take("d")
	take("e") // .6: the last that never was used
	give("c")
	take("f") // both free ones rest: .2 has rested longer than .4
	take("g")
	now = now.Add(cni.Rest)
	give("b")
	give("d")
	now = now.Add(cni.Rest)
	take("h") // both have rested enough: on from the last one, round the end
	if diff := cmp.Diff([]string{"10.42.3.2", "10.42.3.3", "10.42.3.4", "10.42.3.5", "10.42.3.6", "10.42.3.2", "10.42.3.4", "10.42.3.5"}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestLedgerFull(t *testing.T) {
	l := openLedger(t, newMemory(), "boot")
	for i := range 5 {
		if !l.HasFree(small.CIDRs) {
			t.Fatalf("full after %d", i)
		}
		reserve(t, l, fmt.Sprint("p", i), small, noon)
	}
	if l.HasFree(small.CIDRs) {
		t.Error("not full after all five")
	}
	if _, err := l.Reserve(podNamed("x"), small, noon); !errors.Is(err, cni.ErrFull) {
		t.Errorf("error %v, want ErrFull", err)
	}
	if err := l.Release(podNamed("p3").Key, noon); err != nil {
		t.Fatal(err)
	}
	if !l.HasFree(small.CIDRs) {
		t.Error("full although one rests: STATUS would say so for nothing")
	}
	if got := reserve(t, l, "x", small, noon).Addrs[0].String(); got != "10.42.3.5" {
		t.Errorf("got %s, want the resting 10.42.3.5", got)
	}
}

func TestLedgerWishes(t *testing.T) {
	l := openLedger(t, newMemory(), "boot")
	w := both
	w.Addrs = []netip.Addr{netip.MustParseAddr("10.42.3.77")}
	p := reserve(t, l, "a", w, noon)
	if p.Addrs[0] != w.Addrs[0] || p.Addrs[1].String() != "fd42:3::2" {
		t.Errorf("got %v", p.Addrs)
	}
	if _, err := l.Reserve(podNamed("b"), w, noon); !errors.Is(err, cni.ErrTaken) {
		t.Errorf("error %v, want ErrTaken", err)
	}
	w = both
	w.Ranges = []cni.Range{{First: netip.MustParseAddr("10.42.3.100"), Last: netip.MustParseAddr("10.42.3.101")}}
	for _, want := range []string{"10.42.3.100", "10.42.3.101"} {
		if got := reserve(t, l, want, w, noon).Addrs[0].String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := l.Reserve(podNamed("c"), w, noon); !errors.Is(err, cni.ErrFull) {
		t.Errorf("error %v, want ErrFull", err)
	}
	if _, err := l.Reserve(podNamed("a"), both, noon); !errors.Is(err, cni.ErrKnown) {
		t.Errorf("error %v, want ErrKnown", err)
	}
}

func TestLedgerReboot(t *testing.T) {
	m := newMemory()
	p := reserve(t, openLedger(t, m, "boot"), "a", both, noon)
	same := openLedger(t, m, "boot")
	if got := same.Pods(false); len(got) != 1 {
		t.Errorf("after a restart: %v, want the pod", got)
	}
	after := openLedger(t, m, "next boot")
	if got := after.Pods(false); len(got) != 0 || after.Damaged() {
		t.Errorf("after a reboot: %v, damaged %v", got, after.Damaged())
	}
	if got := reserve(t, after, "b", both, noon).Addrs; got[0] != p.Addrs[0] {
		t.Errorf("a reboot frees addresses at once; got %v", got)
	}
}

func TestLedgerKeepsRestAcrossRestart(t *testing.T) {
	m := newMemory()
	l := openLedger(t, m, "boot")
	p := reserve(t, l, "a", both, noon)
	if err := l.Release(p.Key, noon); err != nil {
		t.Fatal(err)
	}
	l = openLedger(t, openLedgerTwice(t, m), "boot")
	if got := reserve(t, l, "b", both, noon.Add(time.Second)).Addrs; got[0] == p.Addrs[0] {
		t.Errorf("%s was given out again after a second", got[0])
	}
}

// openLedgerTwice compacts a second time.
func openLedgerTwice(t *testing.T, m *memory) *memory {
	t.Helper()
	openLedger(t, m, "boot")
	return m
}

// TestLedgerCrash cuts the journal at every byte and shows that what was
// committed before the last operation is always there, and nothing is damaged.
func TestLedgerCrash(t *testing.T) {
	m := newMemory()
	l := openLedger(t, m, "boot")
	a := reserve(t, l, "a", both, noon)
	if err := l.Commit(a.Key); err != nil {
		t.Fatal(err)
	}
	before := len(m.b)
	b := reserve(t, l, "b", both, noon)
	reserved := len(m.b)
	if err := l.Commit(b.Key); err != nil {
		t.Fatal(err)
	}
	for cut := before; cut <= len(m.b); cut++ {
		crashed := openLedger(t, &memory{b: bytes.Clone(m.b[:cut]), cut: -1}, "boot")
		if crashed.Damaged() {
			t.Fatalf("cut at %d: damaged", cut)
		}
		if _, committed, ok := crashed.Get(a.Key); !ok || !committed {
			t.Fatalf("cut at %d: pod a is lost", cut)
		}
		_, committed, ok := crashed.Get(b.Key)
		if wantOK, want := cut >= reserved, cut == len(m.b); ok != wantOK || committed != want {
			t.Fatalf("cut at %d: pod b known %v committed %v", cut, ok, committed)
		}
	}
}

func TestLedgerFullDisk(t *testing.T) {
	m := newMemory()
	l := openLedger(t, m, "boot")
	a := reserve(t, l, "a", both, noon)
	m.cut = 7
	if _, err := l.Reserve(podNamed("b"), both, noon); !errors.Is(err, m.fail) {
		t.Fatalf("error %v, want the store's", err)
	}
	// The half line must not swallow the next.
	if err := l.Commit(a.Key); err != nil {
		t.Fatal(err)
	}
	again := openLedger(t, m, "boot")
	if _, committed, _ := again.Get(a.Key); !committed || again.Damaged() {
		t.Errorf("committed %v, damaged %v", committed, again.Damaged())
	}
	if _, _, ok := again.Get(podNamed("b").Key); ok {
		t.Error("a reservation that failed is in the ledger")
	}
}

func TestLedgerDamage(t *testing.T) {
	m := newMemory()
	l := openLedger(t, m, "boot")
	for _, n := range []string{"a", "b", "c"} {
		if err := l.Commit(reserve(t, l, n, both, noon).Key); err != nil {
			t.Fatal(err)
		}
	}
	m.b[bytes.Index(m.b, []byte(`"name":"b"`))+9] ^= 1
	l = openLedger(t, m, "boot")
	if !l.Damaged() {
		t.Error("not damaged")
	}
	for n, want := range map[string]bool{"a": true, "b": false, "c": true} {
		if _, _, ok := l.Get(podNamed(n).Key); ok != want {
			t.Errorf("pod %s known %v, want %v", n, ok, want)
		}
	}
	if l = openLedger(t, &memory{b: []byte("not a ledger\n"), cut: -1}, "boot"); !l.Damaged() {
		t.Error("a foreign file is not damaged")
	}
}

// TestLedgerStaysSmall shows that a node that makes and deletes pods for years
// does not fill its disk.
func TestLedgerStaysSmall(t *testing.T) {
	m := newMemory()
	l := openLedger(t, m, "boot")
	now := noon
	for i := range 20000 {
		p := reserve(t, l, fmt.Sprint("p", i), both, now)
		if err := errors.Join(l.Commit(p.Key), l.Release(p.Key, now)); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Second)
	}
	if len(m.b) > 2<<20 {
		t.Errorf("%d bytes after 20000 pods", len(m.b))
	}
}

// TestLedgerLaw does at random what nodes do, with restarts, and shows that no
// address is held twice and none is lost.
func TestLedgerLaw(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	m := newMemory()
	l := openLedger(t, m, "boot")
	have := map[string]cni.Pod{}
	now := noon
	for range 5000 {
		now = now.Add(time.Duration(rnd.IntN(3000)) * time.Millisecond)
		name := fmt.Sprint("p", rnd.IntN(8))
		switch rnd.IntN(6) {
		case 0:
			l = openLedger(t, m, "boot")
		case 1, 2:
			if err := l.Release(podNamed(name).Key, now); err != nil {
				t.Fatal(err)
			}
			delete(have, name)
		default:
			p, err := l.Reserve(podNamed(name), small, now)
			_, known := have[name]
			switch {
			case known != errors.Is(err, cni.ErrKnown), !known && (len(have) == 5) != errors.Is(err, cni.ErrFull):
				t.Fatalf("%s with %d held: %v", name, len(have), err)
			case err == nil:
				have[name] = p
			}
		}
		seen := map[netip.Addr]string{}
		for n, p := range have {
			if other, twice := seen[p.Addrs[0]]; twice {
				t.Fatalf("%s and %s both have %s", n, other, p.Addrs[0])
			}
			seen[p.Addrs[0]] = n
			if got, _, ok := l.Get(p.Key); !ok || got.Addrs[0] != p.Addrs[0] {
				t.Fatalf("%s: ledger says %v, %v", n, got.Addrs, ok)
			}
		}
	}
}

// FuzzLedger shows that no file makes the ledger fail, hold an address twice,
// or write something that it cannot read again.
func FuzzLedger(f *testing.F) {
	m := newMemory()
	l, err := cni.OpenLedger(m, "boot")
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range []string{"a", "b"} {
		if p, err := l.Reserve(podNamed(n), both, noon); err == nil && n == "a" {
			_ = l.Commit(p.Key)
		}
	}
	_ = l.Release(podNamed("b").Key, noon)
	f.Add(m.b, false)
	f.Add(m.b[:len(m.b)-9], false)
	f.Add([]byte("\n\n"), false)
	var bare []byte // without checksums, for mutations that keep theirs right
	for line := range bytes.Lines(m.b) {
		bare = append(bare, line[9:]...)
	}
	f.Add(bare, true)
	f.Fuzz(func(t *testing.T, b []byte, sign bool) {
		if sign {
			b = signed(b)
		}
		m := &memory{b: b, cut: -1}
		l, err := cni.OpenLedger(m, "boot")
		if err != nil {
			t.Fatal(err)
		}
		before := append(l.Pods(true), l.Pods(false)...)
		p, err := l.Reserve(podNamed("fuzz-x"), both, noon)
		if err == nil {
			for _, q := range before {
				for _, a := range q.Addrs {
					if a == p.Addrs[0] || a == p.Addrs[1] {
						t.Fatalf("%s is held twice", a)
					}
				}
			}
		}
		again, err := cni.OpenLedger(m, "boot")
		if err != nil || again.Damaged() {
			t.Fatalf("own file: %v, damaged %v", err, again.Damaged())
		}
	})
}

// signed puts the right checksum before every line.
func signed(b []byte) []byte {
	var out []byte
	for line := range bytes.Lines(b) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		out = fmt.Appendf(out, "%08x %s\n", crc32.ChecksumIEEE(line), line)
	}
	return out
}
