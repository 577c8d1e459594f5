// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Wish says which addresses a pod wants.
type Wish struct {
	CIDRs  []netip.Prefix // of the node: every address comes out of these
	Addrs  []netip.Addr   // exactly these, at most one a family
	Ranges []Range        // out of one of these, for the families they name
}

// Range is a part of a CIDR, both ends included.
type Range struct{ First, Last netip.Addr }

// choose returns one address a family of the node, in the order of CIDRs.
func (l *Ledger) choose(wish Wish, now time.Time) ([]netip.Addr, error) {
	if len(wish.CIDRs) == 0 {
		return nil, fmt.Errorf("this node has no pod CIDR: %w", ErrFull)
	}
	var out []netip.Addr
	for _, cidr := range wish.CIDRs {
		a, err := l.one(wish, cidr, now)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// one returns the address for one of the node's CIDRs.
func (l *Ledger) one(wish Wish, cidr netip.Prefix, now time.Time) (netip.Addr, error) {
	for _, a := range wish.Addrs {
		if a.Is6() != cidr.Addr().Is6() {
			continue
		}
		if who, held := l.holders[a]; held {
			return a, fmt.Errorf("%s belongs to %s: %w", a, who, ErrTaken)
		}
		l.last[a.Is6()] = a
		return a, nil
	}
	ranges := wish.within(cidr)
	for _, r := range ranges {
		if a, ok := l.next(r, now); ok {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("every address of %s is in use: %w", ranges[0], ErrFull)
}

// within returns the parts of the CIDR the wish allows, at least one.
func (w *Wish) within(cidr netip.Prefix) []Range {
	whole := usable(cidr)
	var out []Range
	for _, r := range w.Ranges {
		if r.First.Is6() == cidr.Addr().Is6() {
			out = append(out, Range{First: later(whole.First, r.First), Last: earlier(whole.Last, r.Last)})
		}
	}
	if len(out) == 0 {
		out = []Range{whole}
	}
	return out
}

func (r Range) String() string { return r.First.String() + " to " + r.Last.String() }

// usable leaves out the network address (the overlay device has it), the next
// one (a bridge of Flannel has it while a cluster moves to us node by node)
// and the IPv4 broadcast address.
func usable(cidr netip.Prefix) Range {
	first := cidr.Masked().Addr()
	last := lastOf(cidr)
	if cidr.Bits() >= cidr.Addr().BitLen()-2 {
		return Range{First: first, Last: last} // too small to leave anything out
	}
	if first.Is4() {
		last = last.Prev()
	}
	return Range{First: first.Next().Next(), Last: last}
}

func lastOf(cidr netip.Prefix) netip.Addr {
	b := cidr.Masked().Addr().AsSlice()
	for bit := cidr.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func later(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return b
	}
	return a
}

func earlier(a, b netip.Addr) netip.Addr {
	if a.Less(b) {
		return a
	}
	return b
}

// next goes round the range from the address given out last. The first that is
// free and does not rest wins; if all free ones rest, the longest rested.
func (l *Ledger) next(r Range, now time.Time) (netip.Addr, bool) {
	if r.Last.Less(r.First) {
		return netip.Addr{}, false
	}
	l.forget(now)
	start := l.last[r.First.Is6()]
	if !start.IsValid() || start.Less(r.First) || !start.Less(r.Last) {
		start = r.Last // so that the next one is the first
	}
	a := start
	// Every address that is held or rests costs one step, so a /64 ends soon.
	for range len(l.holders) + len(l.resting) + 2 {
		a = following(a, r)
		if l.free(a) {
			l.last[a.Is6()] = a
			return a, true
		}
		if a == start {
			break
		}
	}
	a, ok := l.longestRested(r)
	if ok {
		l.last[a.Is6()] = a
	}
	return a, ok
}

func following(a netip.Addr, r Range) netip.Addr {
	if a == r.Last {
		return r.First
	}
	return a.Next()
}

func (l *Ledger) free(a netip.Addr) bool {
	_, held := l.holders[a]
	_, rests := l.resting[a]
	return !held && !rests
}

func (l *Ledger) longestRested(r Range) (best netip.Addr, ok bool) {
	for a, at := range l.resting {
		if a.Less(r.First) || r.Last.Less(a) {
			continue
		}
		if _, held := l.holders[a]; held {
			continue
		}
		if !ok || at.Before(l.resting[best]) || at.Equal(l.resting[best]) && a.Less(best) {
			best, ok = a, true
		}
	}
	return best, ok
}

// HasFree reports whether every one of the CIDRs has an address left.
func (l *Ledger) HasFree(cidrs []netip.Prefix) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(cidrs) > 0 && !slices.ContainsFunc(cidrs, func(c netip.Prefix) bool { return l.left(usable(c)) == 0 })
}

// left is how many addresses of the range nobody holds, or "many".
func (l *Ledger) left(r Range) int {
	const many = 1 << 20
	size := 0
	for a := r.First; size < many && !r.Last.Less(a); a = a.Next() {
		size++
		if size > len(l.holders) {
			return many // more addresses than holders of any
		}
	}
	for a := range l.holders {
		if !a.Less(r.First) && !r.Last.Less(a) {
			size--
		}
	}
	return size
}
