// SPDX-License-Identifier: Apache-2.0

package main

import (
	"golang.org/x/net/http/httpproxy"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/identity"
	"github.com/magpie-edge/magpie/tunnel/wire"
)

// openTunnel makes the node's end of the O&M tunnel, unless it is switched off.
// Nothing is dialled before run.
func (a *agent) openTunnel() error {
	if !a.config.Tunnel.Enabled {
		return nil
	}
	certs, err := cluster.NewCertificates(a.account, cluster.CertificateOptions{
		Kind: identity.Agent, Name: a.node, Dir: a.config.StateDir, UID: a.uid, Now: now, Log: a.log,
	})
	if err != nil {
		return err
	}
	a.certificates = certs
	a.tunnel = newTunnel(&omTunnel{
		config: a.config.Tunnel, node: a.node, log: a.log.With("loop", "tunnel"),
		view: a.source.Read, certs: certs, conditions: a.vitals.conditions,
	}, wire.Dialler{Proxy: httpproxy.FromEnvironment().ProxyFunc(), ServerName: identity.ServerName})
	a.tunnel.views, a.tunnel.relayViews = a.bell.listen(), a.bell.listen()
	a.tunnel.metrics.register(a.vitals.metrics)
	return nil
}

// uid is that of our Node as the API has it now; "" while it is not known.
func (a *agent) uid() string {
	objects, err := a.api.Objects()
	if err != nil || objects.Node == nil {
		return ""
	}
	return string(objects.Node.UID)
}
