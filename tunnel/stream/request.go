// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// Names on the wire, beside those of HTTP/2.
const (
	fieldNode   = "magpie-node"
	fieldCaller = "magpie-caller"
	fieldCode   = "magpie-code"
	fieldText   = "magpie-text"
	helloPath   = "/magpie/hello"
)

// textLimit bounds words that one end sends for people at the other.
const textLimit = 512

// statuses of refusals. Codes that are not here are no refusals.
var statuses = map[Code]string{
	CodeBadRequest: "400", CodeUnauthenticated: "401", CodeForbidden: "403", CodeNotAllowed: "403",
	CodeNoSession: "404", CodeWrongNode: "421", CodeTooManyStreams: "429", CodeTooManyDials: "429",
	CodeDialFailed: "502", CodeDraining: "503", CodeDialTimeout: "504",
}

// request is how a call is asked for.
func request(c Call) h2.Header {
	host := c.Target.Node
	if c.Target.Addr.IsValid() {
		host = c.Target.Addr.String()
	}
	return h2.Fields(
		":method", "CONNECT",
		":authority", net.JoinHostPort(host, strconv.Itoa(int(c.Target.Port))),
		fieldNode, c.Target.Node,
		fieldCaller, printable(c.Caller),
	)
}

// parseRequest reads what a gateway asks for.
func parseRequest(h h2.Header) (Call, error) {
	method, _ := h.Get(":method")
	authority, ok := h.Get(":authority")
	node, named := h.Get(fieldNode)
	if method != "CONNECT" || !ok || !named {
		return Call{}, refuse(CodeBadRequest, "not a CONNECT with %s", fieldNode)
	}
	if slices.ContainsFunc(h, func(f hpack.HeaderField) bool { return f.Name == ":path" || f.Name == ":scheme" }) {
		return Call{}, refuse(CodeBadRequest, "a CONNECT has no path")
	}
	t, err := ParseTarget(authority, node)
	if err != nil {
		return Call{}, err
	}
	caller, _ := h.Get(fieldCaller)
	return Call{Target: t, Caller: printable(caller)}, nil
}

// ParseTarget reads "NODE:PORT" and "ADDRESS:PORT", where node is the name of
// the node that is meant. A host that is not an address must be that name. The
// error is a *Refusal.
func ParseTarget(authority, node string) (Target, error) {
	host, service, err := net.SplitHostPort(authority)
	if err != nil || !nodeName(node) {
		return Target{}, refuse(CodeBadRequest, "not a target: %s of node %s", printable(authority), printable(node))
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 || service[0] < '1' || service[0] > '9' {
		return Target{}, refuse(CodeBadRequest, "not a port: %s", printable(service))
	}
	t := Target{Node: node, Port: uint16(port)}
	if host == node {
		return t, nil
	}
	addr, err := netip.ParseAddr(host)
	if err != nil || addr.Zone() != "" {
		return Target{}, refuse(CodeBadRequest, "neither the node %s nor an address: %s", node, printable(host))
	}
	t.Addr = addr.Unmap()
	return t, nil
}

// nodeName reports whether s can be the name of a Node: an RFC 1123 subdomain.
func nodeName(s string) bool {
	return len(s) > 0 && len(s) <= 253 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == "" &&
		!strings.ContainsAny(s[:1]+s[len(s)-1:], "-.")
}

// printable is s, shortened, with anything but printable ASCII replaced, so that
// what one end says can neither break a header nor forge a line of a log.
func printable(s string) string {
	if len(s) > textLimit {
		s = s[:textLimit]
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s))
}

// refusal is the answer that tells err.
func refusal(err error) h2.Header {
	var r *Refusal
	if !errors.As(err, &r) || statuses[r.Code] == "" {
		r = &Refusal{Code: CodeDialFailed, Text: err.Error()}
	}
	return h2.Fields(":status", statuses[r.Code], fieldCode, string(r.Code), fieldText, printable(r.Text))
}

// parseAnswer returns nil for a stream that is open, else the *Refusal that the
// far end sent.
func parseAnswer(h h2.Header) error {
	status, _ := h.Get(":status")
	if status == "200" {
		return nil
	}
	code, _ := h.Get(fieldCode)
	text, _ := h.Get(fieldText)
	if statuses[Code(code)] == "" {
		return refuse(CodeDialFailed, "the far end answered with status %s", printable(status))
	}
	return &Refusal{Code: Code(code), Text: printable(text)}
}
