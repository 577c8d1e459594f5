// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/disk"
	"github.com/magpie-edge/magpie/cni/socket"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

const (
	callPatience = 5 * time.Second  // to read a request, and to write an answer
	collectEvery = 30 * time.Second // to look for pods that went without a DEL
)

// openPods opens the ledger and makes the server of the CNI verbs.
func (a *agent) openPods() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("read boot id: %w", err)
	}
	journal, err := disk.OpenJournal(filepath.Join(a.config.StateDir, filepath.Base(api.FileLedger)))
	if err != nil {
		return err
	}
	ledger, err := cni.OpenLedger(journal, strings.TrimSpace(string(boot)))
	if err != nil {
		return err
	}
	a.pods = cni.NewServer(cni.Config{
		View: func() (fleet.View, bool) { v, err := a.source.Read(); return v, err == nil },
		World: a.host.Own(cni.Owner,
			kernel.WithNamespaces(func() []string { return a.pods.Namespaces() }),
			kernel.WithSysctls(func() []plan.SysctlKey { return a.pods.Settings() })),
		Door:   a.host,
		Ledger: ledger,
		Now:    time.Now, //nolint:forbidigo // where time enters
		Report: a.podReport,
		Wake:   a.bell.ring,
	})
	return nil
}

// podReport logs a finished CNI call.
func (a *agent) podReport(d cni.Done) {
	a.vitals.call(d.Verb, d.Took, d.Err)
	log := a.log.With("verb", d.Verb, "pod", d.Pod.Namespace+"/"+d.Pod.Name, "took", d.Took.Round(time.Microsecond))
	switch {
	case d.Err != nil:
		log.Warn("pod network call failed", "code", d.Code, "err", d.Err)
	case d.Verb == "ADD" || d.Verb == "DEL":
		log.Info("pod network call", "container", d.Pod.String())
	default:
		log.Debug("pod network call")
	}
}

// servePods recovers what an earlier run left, answers the runtime, and tells
// it where to ask once an ADD can be served.
func (a *agent) servePods(ctx context.Context) error {
	install := a.installer()
	if _, err := install.Binary(); err != nil {
		return err
	}
	if err := a.pods.Recover(ctx); err != nil {
		a.log.Warn("not everything an earlier run left could be undone", "err", err)
	}
	l, err := listenCNI(ctx, filepath.Join(a.config.RunDir, filepath.Base(api.SocketCNI)))
	if err != nil {
		return err
	}
	defer l.Close()
	go a.announce(ctx, install)
	go a.pods.Run(ctx, collectEvery) //nolint:errcheck // ends with ctx
	server := &socket.Server{
		Handle: a.pods.Handle, Undelivered: a.pods.Undelivered,
		Limit: cni.CallsAtOnce, Patience: callPatience,
		Now: time.Now, //nolint:forbidigo // where time enters
	}
	return server.Serve(ctx, l)
}

// listenCNI takes over the socket of an agent that is gone. Only root may call.
func listenCNI(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("take over socket: %w", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for CNI calls: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("protect socket: %w", err), l.Close())
	}
	return l, nil
}

// announce writes the conflist, which makes the node Ready, as soon as the
// node's own network is up: pods that start earlier would be cut off.
func (a *agent) announce(ctx context.Context, install disk.Installer) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for a.vitals.ready() != nil {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	conflist, err := cni.Conflist()
	if err == nil {
		_, err = install.Config(conflist)
	}
	if err != nil {
		a.log.Error("the runtime cannot be told about the pod network", "err", err)
		return
	}
	a.log.Info("pod network is ready", "node", a.node)
}

func (a *agent) installer() disk.Installer {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	return disk.Installer{
		Source: filepath.Join(filepath.Dir(self), cni.Program),
		BinDir: a.config.CNIBinDir, ConfDir: a.config.CNIConfDir,
		Program: cni.Program, ConfName: api.FileCNIConf,
	}
}
