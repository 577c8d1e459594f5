// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// settle is how long an instance that stops still takes streams: until those
// who send them know that it is not ready.
const settle = 3 * time.Second

// run wires the gateway to the cluster and runs it until ctx ends.
func run(ctx context.Context, c Config, logs io.Writer) error {
	level, err := c.level()
	if err != nil {
		return fmt.Errorf("log level: %w", err)
	}
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: level}))
	klog.SetSlogLogger(log)
	// net/http complains about strangers there, as often as they please.
	stdlog.SetOutput(io.Discard)
	cfg, err := restConfig(c)
	if err != nil {
		return err
	}
	now := time.Now //nolint:forbidigo // the one clock of the process
	certs, err := cluster.NewCertificates(cfg, cluster.CertificateOptions{
		Kind: identity.Gateway, Name: c.Instance, Dir: c.StateDir, Now: now, Log: log,
	})
	if err != nil {
		return err
	}
	people, err := cluster.NewDirectory(cfg, cluster.DirectoryOptions{
		Namespace: c.Namespace, Service: c.Service, Now: now, Log: log,
	})
	if err != nil {
		return err
	}
	g, err := newGateway(c, certs, people, log, now)
	if err != nil {
		return err
	}
	// The doors to the cluster stay open while streams drain.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var doors sync.WaitGroup
	defer doors.Wait()
	defer end()
	doors.Go(func() { _ = certs.Run(life) })
	doors.Go(func() { _ = people.Run(life) })
	ls, err := g.listen()
	if err != nil {
		return err
	}
	return g.serve(ctx, ls)
}

// serve runs every part until ctx ends, and drains.
func (g *gateway) serve(ctx context.Context, ls *listeners) error {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	var parts sync.WaitGroup
	defer parts.Wait()
	defer end()
	parts.Go(func() { ls.serveStatus(life, g) })
	if !g.wait(ctx) {
		return nil
	}
	g.log.Info("gateway starts", "instance", g.config.Instance, "listen", ls.agents.Addr())
	failed := make(chan error, len(ls.all))
	for _, e := range append(g.entries(ls), wayIn{ls.agents, g.door().Serve}) {
		if e.listener != nil {
			parts.Go(func() { failed <- e.serve(life, e.listener) })
		}
	}
	parts.Go(func() { g.meet(life) })
	parts.Go(func() { g.evict(life) })
	select {
	case <-ctx.Done():
		g.drain(ls)
		return nil
	case err := <-failed:
		ls.close()
		return fmt.Errorf("a listener ended: %w", err)
	}
}

// wait returns when certificate and directory are there; false when ctx ended.
// Until then nobody is let in: who may come in is not known.
func (g *gateway) wait(ctx context.Context) bool {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for g.ready() != nil {
		select {
		case <-t.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// drain sends new work elsewhere, waits for what is open, and ends the rest.
func (g *gateway) drain(ls *listeners) {
	limit := g.config.Drain.Duration
	g.log.Info("gateway drains", "limit", limit)
	g.draining.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	select {
	case <-time.After(min(settle, limit/4)): // callers are still served, by way of other instances
	case <-ctx.Done():
	}
	ls.close()
	var all sync.WaitGroup
	all.Go(func() { g.sessions.Drain(ctx) })
	all.Go(func() { g.passing.Drain(ctx) })
	all.Go(func() { g.peers.Drain(ctx) })
	all.Wait()
	g.log.Info("gateway ends")
}

// serveStatus answers about the gateway until ctx ends.
func (ls *listeners) serveStatus(ctx context.Context, g *gateway) {
	s := &http.Server{Handler: g.status(), ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	if err := s.Serve(ls.status); !errors.Is(err, http.ErrServerClosed) {
		g.log.Error("status can not be served", "err", err)
	}
}

func restConfig(c Config) (*rest.Config, error) {
	if c.Kubeconfig == "" {
		cfg, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("read the pod's account: %w", err)
		}
		return cfg, nil
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", c.Kubeconfig, err)
	}
	return cfg, nil
}
