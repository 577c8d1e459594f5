// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// same reports whether what is there is as wanted. Most items are compared by
// ==; those with a Same method have fields that a plan may leave to the kernel
// or that the kernel does not keep as written.
func same[T comparable](have, want T) bool {
	if h, ok := any(have).(interface{ Same(want T) bool }); ok {
		return h.Same(want)
	}
	return have == want
}

// Same reports whether d is as want says; the fields that want leaves to the
// kernel (MAC, MTU, PeerMAC, ListenPort) are not looked at.
func (d Device) Same(want Device) bool {
	if want.MAC == "" {
		d.MAC = ""
	}
	if want.PeerMAC == "" {
		d.PeerMAC = ""
	}
	if want.MTU == 0 {
		d.MTU = 0
	}
	if want.ListenPort == 0 {
		d.ListenPort = 0
	}
	return d == want
}

// Same reports whether r is as want says; table 0 and the main table are one.
func (r Route) Same(want Route) bool {
	r.Table, want.Table = r.table(), want.table()
	return r == want
}

// Same reports whether p is as want says; without an endpoint in want, any
// that WireGuard has learned is right.
func (p Peer) Same(want Peer) bool {
	if !want.Endpoint.IsValid() {
		p.Endpoint = want.Endpoint
	}
	return p == want
}

// Same reports whether s is as want says. The kernel keeps a burst as the time
// that it takes at the rate, in ticks of 64 ns, so it comes back rounded.
func (s Shape) Same(want Shape) bool {
	off := max(s.Burst, want.Burst) - min(s.Burst, want.Burst)
	if off <= want.Burst/1000+s.Rate*64/1_000_000_000+16 {
		s.Burst = want.Burst
	}
	return s == want
}

// digestPrefix begins a Body that is only the digest of one.
const digestPrefix = "sha256:"

// Digest is what is left of Body in the kernel: a door that does not know the
// text of a table it finds reports the digest in its place. White space at the
// ends of lines and empty lines do not count.
func (t Table) Digest() string {
	if strings.HasPrefix(t.Body, digestPrefix) {
		return t.Body
	}
	sum := sha256.New()
	for line := range strings.Lines(t.Body) {
		if line = strings.TrimSpace(line); line != "" {
			sum.Write([]byte(line + "\n"))
		}
	}
	return digestPrefix + hex.EncodeToString(sum.Sum(nil)[:10])
}

// Same reports whether t is as want says, by text or by digest.
func (t Table) Same(want Table) bool {
	return t.Family == want.Family && t.Name == want.Name && t.Digest() == want.Digest()
}
