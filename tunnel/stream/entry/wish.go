// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxName is the length of the longest DNS name.
// Source: RFC 1035 section 3.1, without the final dot.
const maxName = 253

var errName = errors.New("not a name: letters, digits, '-', '_' and '.' in labels of 1 to 63")

// Wish is whom a caller wants, in the caller's words.
type Wish struct {
	// Host is a name in lower case or an address in its canonical form.
	Host string
	Port uint16
	// Node says that Host must be the name of a node: no pod, no Service, no
	// address.
	Node bool
	// Caller begins with the entry's name: "sni 10.0.0.5", "connect unix".
	Caller string
}

// String is "host:port", with brackets around an IPv6 address.
func (w Wish) String() string { return net.JoinHostPort(w.Host, strconv.Itoa(int(w.Port))) }

// parseAuthority reads the target of a CONNECT: "host:port" and nothing else.
// A name that differs in case or by its final dot is the same name; an IPv4
// address written as IPv6 is that IPv4 address.
func parseAuthority(s string) (host string, port uint16, err error) {
	if len(s) > maxName+len("[]:65535") {
		return "", 0, fmt.Errorf("target of %d bytes is too long", len(s))
	}
	h, p, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("target is not host:port: %w", err)
	}
	port, err = parsePort(p)
	if err != nil {
		return "", 0, err
	}
	if strings.ContainsRune(h, ':') != strings.HasPrefix(s, "[") {
		return "", 0, errors.New("brackets belong around an IPv6 address and around nothing else")
	}
	host, err = parseHost(h)
	return host, port, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] < '1' || s[0] > '9' {
		return 0, fmt.Errorf("port %q is not 1 to 65535", clip(s))
	}
	return uint16(n), nil
}

// parseHost accepts an address without a zone or a name.
func parseHost(s string) (string, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return "", errors.New("an address with a zone means something else on each machine")
		}
		return a.Unmap().String(), nil
	}
	return parseName(s)
}

// parseName accepts what a node, pod or Service can be called. Numbers alone are
// refused: what is no address here must not become one somewhere else
// ("0177.1", "2130706433", "0x7f.1"). ACK's "cn-hangzhou.10.0.0.8" is a name.
func parseName(s string) (string, error) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if len(s) > maxName {
		return "", errName
	}
	numbers := true
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return "", errName
		}
		_, err := strconv.ParseUint(label, 0, 64)
		numbers = numbers && (err == nil || strings.Trim(label, "0123456789") == "")
	}
	if numbers {
		return "", errName
	}
	return s, nil
}

func validLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// clip shortens what a stranger sent before it gets into a message.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
