// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Rest is how long a freed address is not given out again while others are.
const Rest = 30 * time.Second

// Errors of the ledger that callers tell apart.
var (
	ErrFull  = errors.New("no address left")
	ErrTaken = errors.New("address is taken")
	ErrKnown = errors.New("attachment exists")
)

// Ledger knows which pod has which addresses. Safe for concurrent use; every
// change is in the journal before the method returns.
type Ledger struct {
	store Store
	boot  string

	mu      sync.Mutex
	leases  map[Key]lease
	holders map[netip.Addr]string // who holds the address, for error texts
	resting map[netip.Addr]time.Time
	last    map[bool]netip.Addr // last address given out, by family (true is IPv6)
	lines   int                 // in the journal
	damaged bool
}

// OpenLedger reads the journal. boot is the kernel's boot id: a journal of
// another boot is void, because nothing of it can be in the kernel. Damaged
// tells afterwards whether the journal could be read whole.
func OpenLedger(store Store, boot string) (*Ledger, error) {
	b, err := store.Load()
	if err != nil {
		return nil, fmt.Errorf("load ledger: %w", err)
	}
	c := parseJournal(b)
	if c.boot != "" && c.boot != boot {
		c = parseJournal(nil)
	}
	l := &Ledger{
		store: store, boot: boot,
		leases: c.leases, resting: c.resting, damaged: c.damaged,
		holders: map[netip.Addr]string{}, last: map[bool]netip.Addr{},
	}
	for _, lease := range l.leases {
		l.hold(lease.pod)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.compact(); err != nil {
		return nil, err
	}
	return l, nil
}

// Damaged reports whether records may be missing since the journal was opened.
// The server then asks the kernel.
func (l *Ledger) Damaged() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.damaged
}

func (l *Ledger) hold(p Pod) {
	for _, a := range p.Addrs {
		l.holders[a] = p.who()
		delete(l.resting, a)
	}
}

// Reserve takes addresses for the pod according to the wishes and returns the
// pod with them. Errors: ErrFull, ErrTaken, ErrKnown, or of the store.
func (l *Ledger) Reserve(pod Pod, wish Wish, now time.Time) (Pod, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, there := l.leases[pod.Key]; there {
		return Pod{}, fmt.Errorf("%s: %w", pod.Key, ErrKnown)
	}
	addrs, err := l.choose(wish, now)
	if err != nil {
		return Pod{}, err
	}
	pod.Addrs = addrs
	if err := l.write(record{Op: opReserve, Pod: &pod}); err != nil {
		return Pod{}, err
	}
	l.leases[pod.Key] = lease{pod: pod}
	l.hold(pod)
	return pod, nil
}

// Commit says that the kernel has the whole pod.
func (l *Ledger) Commit(key Key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, there := l.leases[key]
	if !there {
		return fmt.Errorf("commit %s: not reserved", key)
	}
	if err := l.write(record{Op: opCommit, Key: &key}); err != nil {
		return err
	}
	at.committed = true
	l.leases[key] = at
	return nil
}

// Release says that the kernel has nothing of the pod any more. Its addresses
// rest from now on. An unknown key is no error.
func (l *Ledger) Release(key Key, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, there := l.leases[key]
	if !there {
		return nil
	}
	if err := l.write(record{Op: opRelease, Key: &key, Addrs: at.pod.Addrs, At: now}); err != nil {
		return err
	}
	delete(l.leases, key)
	for _, a := range at.pod.Addrs {
		delete(l.holders, a)
		l.resting[a] = now
	}
	l.forget(now)
	return l.shrink()
}

// forget drops addresses that have rested enough.
func (l *Ledger) forget(now time.Time) {
	maps.DeleteFunc(l.resting, func(_ netip.Addr, at time.Time) bool { return now.Sub(at) >= Rest })
}

// Get returns the pod and whether it is committed.
func (l *Ledger) Get(key Key) (pod Pod, committed, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.leases[key]
	return at.pod, at.committed, ok
}

// Pods returns the committed pods, or those that are only reserved, sorted.
func (l *Ledger) Pods(committed bool) []Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Pod
	for _, at := range l.leases {
		if at.committed == committed {
			out = append(out, at.pod)
		}
	}
	slices.SortFunc(out, func(a, b Pod) int { return compareKeys(a.Key, b.Key) })
	return out
}

// Clash returns a pod other than that of key that has one of the ports.
func (l *Ledger) Clash(key Key, ports []Port) (Pod, Port, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(ports) == 0 {
		return Pod{}, Port{}, false
	}
	for k, at := range l.leases {
		if k == key {
			continue
		}
		for _, mine := range ports {
			if slices.ContainsFunc(at.pod.Ports, mine.clashes) {
				return at.pod, mine, true
			}
		}
	}
	return Pod{}, Port{}, false
}

// Adopt marks addresses as held by somebody whom the journal does not know.
func (l *Ledger) Adopt(addrs []netip.Addr, who string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addrs {
		if _, held := l.holders[a]; !held {
			l.holders[a] = who
		}
	}
}

// Abandon is the reverse of Adopt.
func (l *Ledger) Abandon(addrs []netip.Addr, who string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range addrs {
		if l.holders[a] == who {
			delete(l.holders, a)
			l.resting[a] = now
		}
	}
}

func (l *Ledger) write(r record) error {
	b, err := r.line()
	if err != nil {
		return err
	}
	if err := l.store.Append(b); err != nil {
		// Part of the line may be there and would swallow the next one.
		return errors.Join(fmt.Errorf("write ledger: %w", err), l.compact())
	}
	l.lines++
	return nil
}

// linesSpare is how many lines beyond twice the living ones a journal may have
// before it is written anew: a megabyte or so.
const linesSpare = 4096

func (l *Ledger) shrink() error {
	if l.lines <= 2*len(l.leases)+linesSpare {
		return nil
	}
	return l.compact()
}

// compact writes the journal anew with nothing in it but what counts.
func (l *Ledger) compact() error {
	records := []record{{Op: opBegin, Version: journalVersion, Boot: l.boot}}
	for _, k := range slices.SortedFunc(maps.Keys(l.leases), compareKeys) {
		at := l.leases[k]
		records = append(records, record{Op: opReserve, Pod: &at.pod})
		if at.committed {
			records = append(records, record{Op: opCommit, Key: &k})
		}
	}
	for _, a := range slices.SortedFunc(maps.Keys(l.resting), netip.Addr.Compare) {
		records = append(records, record{Op: opRelease, Key: &Key{}, Addrs: []netip.Addr{a}, At: l.resting[a]})
	}
	var all []byte
	for _, r := range records {
		b, err := r.line()
		if err != nil {
			return err
		}
		all = append(all, b...)
	}
	if err := l.store.Replace(all); err != nil {
		return fmt.Errorf("rewrite ledger: %w", err)
	}
	l.lines = len(records)
	return nil
}

func compareKeys(a, b Key) int { return cmp.Compare(a.String(), b.String()) }
