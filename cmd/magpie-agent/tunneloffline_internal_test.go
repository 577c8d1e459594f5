// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// TestTunnelOffline: the agent restarts while the API server is away and the
// gateway is not. What it has on disk is enough: the View says where to dial,
// the files of cluster.Certificates say who it is.
func TestTunnelOffline(t *testing.T) {
	c := newCloud(t)
	g := c.start("g1", "")
	port, dir := echoPort(t), t.TempDir()
	own := c.issue(identity.Agent, "a-1")
	key, err := identity.EncodeKey(own.PrivateKey.(*ecdsa.PrivateKey)) //nolint:forcetypeassert // identity makes no other
	if err != nil {
		t.Fatal(err)
	}
	view, err := fleet.Marshal(*viewOf("a-1", g.addr))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"tunnel.pem":    append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}), key...),
		"tunnel-ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ca.Certificate.Raw}),
		"fleet.json":    view,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	certs, err := cluster.NewCertificates(&rest.Config{Host: "https://127.0.0.1:1"}, cluster.CertificateOptions{
		Kind: identity.Agent, Name: "a-1", Dir: dir, UID: func() string { return "" }, Now: time.Now, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = certs.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	offline := &world{err: reconcile.ErrNotReady, addr: "127.0.0.1"}
	s := offline.source(filepath.Join(dir, "fleet.json"))
	if err := s.refresh(); err != nil {
		t.Fatal(err)
	}
	config := Default().Tunnel
	config.Ports = []int{port}
	e := &edge{omTunnel: newTunnel(&omTunnel{
		config: config, node: "a-1", log: log, view: s.Read, views: make(chan struct{}),
		certs: certs, conditions: newConditions(time.Now),
	}, wire.Dialler{ServerName: identity.ServerName})}
	e.run(t).has(t, 10*time.Second, "g1")
	_ = g.talk(t, "a-1", port).Close()
}
