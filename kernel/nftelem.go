// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// errKind says that elements of that type cannot be read or written here.
var errKind = errors.New("type of set not known") //nolint:gochecknoglobals // a sentinel

// field is one nftables data type: what nft calls it, its number in netlink
// messages and its size in bytes.
// Source: nftables include/datatype.h.
type field struct {
	name  string
	magic uint32
	size  int
}

// fields are the types that members and fixed elements may have.
func fields() []field {
	return []field{
		{"ipv4_addr", 7, 4},
		{"ipv6_addr", 8, 16},
		{"ether_addr", 9, 6},
		{"inet_proto", 12, 1},
		{"inet_service", 13, 2},
		{"mark", 19, 4},
		{"ifname", 41, 16},
	}
}

// protocols are the names that nft prints for numbers of IP protocols.
func protocols() map[string]byte {
	return map[string]byte{"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "ipv6-icmp": 58, "sctp": 132, "udplite": 136}
}

// kind is the type of a set or map. A kind without key fields is one that this
// package cannot read.
type kind struct {
	key, value []field
	interval   bool
}

func newKind(key, value string, interval bool) kind {
	k := kind{interval: interval}
	k.key, _ = fieldsNamed(key)
	if value != "" {
		ok := false
		if k.value, ok = fieldsNamed(value); !ok {
			k.key = nil
		}
	}
	return k
}

func fieldsNamed(s string) ([]field, bool) {
	var out []field
	for name := range strings.SplitSeq(s, " . ") {
		i := slices.IndexFunc(fields(), func(f field) bool { return f.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, false
		}
		out = append(out, fields()[i])
	}
	return out, true
}

// fieldsNumbered reads the type number of a set: six bits a field, the last
// field lowest.
func fieldsNumbered(magic uint32) ([]field, bool) {
	var out []field
	for ; magic != 0; magic >>= 6 {
		i := slices.IndexFunc(fields(), func(f field) bool { return f.magic == magic&0x3f })
		if i < 0 {
			return nil, false
		}
		out = append(out, fields()[i])
	}
	slices.Reverse(out)
	return out, len(out) > 0
}

// span is an element in the kernel's bytes: lo alone, or lo to hi inclusive.
type span struct{ lo, hi, value []byte }

func (s span) String() string {
	return hex.EncodeToString(s.lo) + "-" + hex.EncodeToString(s.hi) + ":" + hex.EncodeToString(s.value)
}

// encode turns an element's text into bytes.
func (k kind) encode(e elem) (span, error) {
	if len(k.key) == 0 {
		return span{}, errKind
	}
	var s span
	var err error
	if s.lo, s.hi, err = encodeAll(k.key, e.key, k.interval); err != nil {
		return span{}, err
	}
	if len(k.value) > 0 || e.value != "" {
		s.value, _, err = encodeAll(k.value, e.value, false)
	}
	return s, err
}

func encodeAll(fs []field, text string, interval bool) (lo, hi []byte, err error) {
	parts := strings.Split(text, " . ")
	if len(parts) != len(fs) {
		return nil, nil, fmt.Errorf("element %q: want %d parts", text, len(fs))
	}
	for i, f := range fs {
		from, to, err := f.encode(strings.TrimSpace(parts[i]), interval)
		if err != nil {
			return nil, nil, fmt.Errorf("element %q: %w", text, err)
		}
		if len(fs) > 1 { // each part of a concatenation fills whole registers
			pad := make([]byte, (4-f.size%4)%4)
			from, to = append(from, pad...), append(to, pad...)
		}
		lo, hi = append(lo, from...), append(hi, to...)
	}
	if bytes.Equal(lo, hi) {
		hi = nil
	}
	return lo, hi, nil
}

// encode returns the first and the last value that the text stands for.
func (f field) encode(text string, interval bool) (lo, hi []byte, err error) {
	if interval && (f.name == "ipv4_addr" || f.name == "ipv6_addr") {
		if p, err := netip.ParsePrefix(text); err == nil {
			lo = p.Masked().Addr().AsSlice()
			return f.sized(lo, lastOf(p))
		}
	}
	if from, to, ok := strings.Cut(text, "-"); ok && interval && f.name != "ifname" {
		if lo, err = f.one(from); err == nil {
			hi, err = f.one(to)
		}
		if err != nil {
			return nil, nil, err
		}
		return f.sized(lo, hi)
	}
	if lo, err = f.one(text); err != nil {
		return nil, nil, err
	}
	return f.sized(lo, lo)
}

func (f field) sized(lo, hi []byte) ([]byte, []byte, error) {
	if len(lo) != f.size || len(hi) != f.size {
		return nil, nil, fmt.Errorf("not a %s", f.name)
	}
	return slices.Clone(lo), slices.Clone(hi), nil
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) []byte {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	return b
}

// one encodes a single value.
func (f field) one(text string) ([]byte, error) {
	switch f.name {
	case "ipv4_addr", "ipv6_addr":
		a, err := netip.ParseAddr(text)
		return a.AsSlice(), err
	case "ether_addr":
		return parseMAC(text)
	case "ifname":
		b := make([]byte, f.size)
		copy(b, strings.Trim(text, `"`))
		return b, nil
	case "inet_proto":
		if n, ok := protocols()[text]; ok {
			return []byte{n}, nil
		}
	}
	n, err := strconv.ParseUint(text, 0, f.size*8)
	if err != nil {
		return nil, err
	}
	switch {
	case f.name == "mark": // the only one here in the machine's own order
		return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
	case f.size == 1:
		return []byte{byte(n)}, nil
	default:
		return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
	}
}

// decode turns bytes into the text that nft would print.
func (k kind) decode(s span) (elem, error) {
	if len(k.key) == 0 {
		return elem{}, errKind
	}
	hi := s.hi
	if hi == nil {
		hi = s.lo
	}
	key, err := decodeAll(k.key, s.lo, hi)
	if err != nil || len(k.value) == 0 {
		return elem{key: key}, err
	}
	value, err := decodeAll(k.value, s.value, s.value)
	return elem{key, value}, err
}

func decodeAll(fs []field, lo, hi []byte) (string, error) {
	var parts []string
	for _, f := range fs {
		width := f.size
		if len(fs) > 1 {
			width = (f.size + 3) / 4 * 4
		}
		if len(lo) < width || len(hi) < width {
			return "", fmt.Errorf("element of %d bytes: too short for a %s", len(lo), f.name)
		}
		parts = append(parts, f.text(lo[:f.size], hi[:f.size]))
		lo, hi = lo[width:], hi[width:]
	}
	return strings.Join(parts, " . "), nil
}

func (f field) text(lo, hi []byte) string {
	if bytes.Equal(lo, hi) {
		return f.single(lo)
	}
	if from, ok := netip.AddrFromSlice(lo); ok && (f.size == 4 || f.size == 16) && f.name != "mark" {
		for bits := 0; bits < f.size*8; bits++ {
			p := netip.PrefixFrom(from, bits)
			if p.Masked().Addr() == from && bytes.Equal(lastOf(p), hi) {
				return p.String()
			}
		}
	}
	return f.single(lo) + "-" + f.single(hi)
}

func (f field) single(b []byte) string {
	switch f.name {
	case "ipv4_addr", "ipv6_addr":
		a, _ := netip.AddrFromSlice(b)
		return a.String()
	case "ether_addr":
		parts := make([]string, len(b))
		for i, x := range b {
			parts[i] = hex.EncodeToString([]byte{x})
		}
		return strings.Join(parts, ":")
	case "ifname":
		return string(bytes.TrimRight(b, "\x00"))
	case "mark":
		return fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b))
	case "inet_proto":
		for name, n := range protocols() {
			if n == b[0] {
				return name
			}
		}
		return strconv.Itoa(int(b[0]))
	default:
		return strconv.Itoa(int(binary.BigEndian.Uint16(b)))
	}
}

// join merges ranges of a plain interval set that touch or overlap: the kernel
// does not say which of them were one element. Others come back as they are,
// sorted.
func (k kind) join(spans []span) []span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return bytes.Compare(a.lo, b.lo) })
	if !k.interval || len(k.key) != 1 || len(k.value) > 0 {
		return spans
	}
	var out []span
	for _, s := range spans {
		if s.hi == nil {
			s.hi = s.lo
		}
		if n := len(out); n > 0 && bytes.Compare(s.lo, after(out[n-1].hi)) <= 0 {
			if bytes.Compare(s.hi, out[n-1].hi) > 0 {
				out[n-1].hi = s.hi
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// after is the next value, or the same if there is none.
func after(b []byte) []byte {
	next := slices.Clone(b)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next
		}
	}
	return b
}

// before is the previous value.
func before(b []byte) []byte {
	last := slices.Clone(b)
	for i := len(last) - 1; i >= 0; i-- {
		if last[i]--; last[i] != 0xff {
			break
		}
	}
	return last
}
