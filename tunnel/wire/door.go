// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Result says how a handshake went. Results are metric labels.
type Result string

// Results of handshakes.
const (
	ResultOK          Result = "ok"
	ResultTimeout     Result = "timeout"     // did not finish in time: half-open
	ResultSilent      Result = "silent"      // connected and left: a load balancer's health check
	ResultProtocol    Result = "protocol"    // not TLS 1.3, not our protocols, or broken off
	ResultCertificate Result = "certificate" // none, or not one that opens this door
	ResultBusy        Result = "busy"        // too many handshakes at once
	ResultBanned      Result = "banned"      // too many failures of this source
)

// Door accepts TLS connections on which both sides prove who they are, and
// hands them to whoever speaks the protocol that was agreed on. It is what the
// internet reaches, so a stranger costs little, and strangers do not cost those
// who are in anything: see Handshakes.
type Door struct {
	// Certificate is ours, asked for at each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Verify says whom a chain of certificates names, the leaf first, or why it
	// may not speak that protocol. It is the only check of the chain.
	Verify func(proto string, chain []*x509.Certificate) (stream.Far, error)
	// Handle serves a connection until it ends, by protocol (ALPN). Clients that
	// offer none of these are refused.
	Handle map[string]func(context.Context, net.Conn, stream.Far)
	Limits Handshakes
	// Seen takes the result of every handshake, with the error unless it is
	// ResultOK. May be nil.
	Seen func(from netip.Addr, r Result, err error)
	// Now is the clock.
	Now func() time.Time
}

// Serve accepts connections from l until l is closed, and returns when the last
// of them has ended. The end of ctx ends all of them.
func (d *Door) Serve(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	newGate(d.Limits).admit(ctx, l, d.Now, d.seen, func(p *place) {
		conns.Go(func() { d.serve(ctx, p) })
	})
	return nil
}

// serve makes the handshake and hands the connection on.
func (d *Door) serve(ctx context.Context, p *place) {
	raw := p.conn
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	defer raw.Close()
	h := handshake{}
	paced := p.gate.compute.pace(raw)
	err := h.make(ctx, paced, d, p.gate.limits.Timeout)
	paced.end()
	r := h.result(err)
	p.leave(r, d.Now())
	d.seen(p.from, r, err)
	if err == nil {
		d.Handle[h.proto](ctx, h.conn, h.far)
	}
}

// handshake is one, and how far it came.
type handshake struct {
	conn  *tls.Conn
	proto string
	far   stream.Far
	heard bool // the client's hello was received
	bad   bool // the client's certificate was refused
}

func (h *handshake) make(ctx context.Context, raw net.Conn, d *Door, limit time.Duration) error {
	h.conn = tls.Server(Tune(raw), &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: d.Certificate,
		NextProtos:     slices.Sorted(maps.Keys(d.Handle)),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			h.heard = true
			return nil, nil //nolint:nilnil // "go on with this one"
		},
		// Whatever is shown goes to Verify, nothing too: authorities change while
		// we run, and who may do what depends on the protocol.
		ClientAuth: tls.RequestClientCert,
		// Whoever comes back proves again who it is: no resumption, no 0-RTT.
		SessionTicketsDisabled: true,
		VerifyConnection: func(state tls.ConnectionState) (err error) {
			if h.proto = state.NegotiatedProtocol; d.Handle[h.proto] == nil {
				return errors.New("client offers none of our protocols")
			}
			h.far, err = d.Verify(h.proto, state.PeerCertificates)
			h.bad = err != nil
			return err
		},
	})
	return h.shake(ctx, limit)
}

func (h *handshake) shake(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := h.conn.HandshakeContext(ctx); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil
}

func (h *handshake) result(err error) Result {
	switch {
	case err == nil:
		return ResultOK
	case h.bad:
		return ResultCertificate
	case errors.Is(err, context.DeadlineExceeded):
		return ResultTimeout
	case !h.heard && errors.Is(err, io.EOF):
		return ResultSilent
	default:
		return ResultProtocol
	}
}

func (d *Door) seen(from netip.Addr, r Result, err error) {
	if d.Seen != nil {
		d.Seen(from, r, err)
	}
}

// sourceOf is what limits by source count: an IPv4 address, or an IPv6 /64,
// because a single host has all addresses of one.
func sourceOf(a net.Addr) netip.Addr {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	addr := p.Addr().Unmap().WithZone("")
	if addr.Is6() {
		net64, _ := addr.Prefix(64) // 64 is a length that every IPv6 address has
		return net64.Addr()
	}
	return addr
}
