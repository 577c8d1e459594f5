// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/stream"
	"github.com/magpie-edge/magpie/tunnel/stream/entry"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// listeners are the sockets of an instance; an entry that is closed has none.
type listeners struct {
	agents, status                net.Listener
	unix, connect, sni, http      net.Listener
	callerRoots, kubeletAuthority *x509.CertPool
	all                           []net.Listener // but status, which outlives them
}

// listen opens every socket and reads every file that the config names, so that
// what is wrong is wrong at the start.
func (g *gateway) listen() (*listeners, error) {
	c, ls := g.config, &listeners{}
	var errs []error
	open := func(at string) net.Listener {
		if at == "" {
			return nil
		}
		l, err := wire.Listen(context.Background(), at)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen: %w", err))
			return nil
		}
		ls.all = append(ls.all, l)
		return l
	}
	ls.status = open(c.Health)
	ls.all = nil
	ls.agents = open(c.Listen)
	ls.sni = open(c.Entries.SNI.Listen)
	ls.http = open(c.Entries.HTTP.Listen)
	ls.connect = open(c.Entries.Connect.Listen)
	var err error
	if ls.unix, err = listenUnix(c.Entries.Connect.Unix); ls.unix != nil {
		ls.all = append(ls.all, ls.unix)
	}
	errs = append(errs, err)
	ls.callerRoots, err = readPool(c.Entries.Connect.ClientCA)
	errs = append(errs, err)
	ls.kubeletAuthority, err = readPool(c.Entries.HTTP.KubeletCA)
	if err := errors.Join(append(errs, err)...); err != nil {
		ls.close()
		if ls.status != nil {
			_ = ls.status.Close()
		}
		return nil, err
	}
	return ls, nil
}

func (ls *listeners) close() {
	for _, l := range ls.all {
		_ = l.Close()
	}
}

// listenUnix makes a socket that only our own user can connect to. One that a
// former instance left is replaced.
func listenUnix(path string) (net.Listener, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no path, no listener
	}
	if s, err := os.Lstat(path); err == nil && s.Mode().Type() == os.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace socket: %w", err)
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("close socket to others: %w", err), l.Close())
	}
	return l, nil
}

func readPool(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // no file, no pool
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool, err := identity.Pool(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return pool, nil
}

// way in: a listener and who serves it.
type wayIn struct {
	listener net.Listener
	serve    func(context.Context, net.Listener) error
}

// entries are the ways in for callers.
func (g *gateway) entries(ls *listeners) []wayIn {
	roads, sni := g.roads(), g.config.Entries.SNI
	sources, _ := prefixes(sni.Sources) // Validate has read them
	own := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: g.certs.GetCertificate, NextProtos: []string{"h2", "http/1.1"}}
	mutual := own.Clone()
	mutual.ClientAuth = tls.RequestClientCert // refused in caller, with a word that the caller sees
	mutual.SessionTicketsDisabled = true
	unix := &entry.Connect{Roads: roads, Who: func(*http.Request) (string, error) { return "unix", nil }}
	connect := &entry.Connect{Roads: roads, Who: func(r *http.Request) (string, error) { return g.caller(r, ls.callerRoots) }}
	limits := g.config.Limits
	name := &entry.SNI{
		Roads: roads, Port: uint16(sni.Port), Sources: sources,
		Share: entry.Share{Streams: max(1, limits.Streams/2), DialsPerSecond: max(1, limits.DialsPerSecond/2)},
	}
	read := &entry.HTTP{Roads: roads, May: g.may(), Kubelet: uint16(sni.Port), Roots: ls.kubeletAuthority}
	return []wayIn{
		{ls.unix, unix.Serve},
		{ls.connect, g.guarded(mutual, connect.Serve)},
		{ls.sni, name.Serve},
		{ls.http, g.guarded(own, read.Serve)},
	}
}

// guarded puts TLS before a server, with the limits of the agents' door.
func (g *gateway) guarded(c *tls.Config, serve func(context.Context, net.Listener) error) func(context.Context, net.Listener) error {
	guard := &wire.Guard{TLS: c, Limits: g.handshakes(), Seen: g.audit.handshake, Now: g.now}
	return func(ctx context.Context, l net.Listener) error { return guard.Serve(ctx, l, serve) }
}

// caller names whoever shows a certificate of a caller. A kubelet's or an
// agent's is none, whoever signed it.
func (g *gateway) caller(r *http.Request, more *x509.CertPool) (string, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return "", refuse(stream.CodeUnauthenticated, "show a certificate of organization "+identity.OrgCallers)
	}
	who, err := identity.Verify(r.TLS.PeerCertificates, g.certs.Roots(), g.certs.Now(), identity.Caller)
	if err != nil && more != nil {
		who, err = identity.Verify(r.TLS.PeerCertificates, more, g.certs.Now(), identity.Caller)
	}
	if err != nil {
		return "", refuse(stream.CodeUnauthenticated, err.Error())
	}
	return who.Name, nil
}
