// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/disk"
	"github.com/magpie-edge/magpie/cni/socket"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/garbage"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
)

// RoleAgent is the name under which stage.Hidden knows Agent.
const RoleAgent = "cni-agent"

// podCIDR is the node's, on either side.
var podCIDR = netip.MustParsePrefix("10.42.1.0/24") //nolint:gochecknoglobals // a constant

func view() fleet.View {
	return fleet.View{
		Self: fleet.Self{
			Node: "node-1", Domain: "gw-cloud", PodCIDRs: []netip.Prefix{podCIDR},
			Underlay4: fleet.Underlay{Dev: "lo", Addr: netip.MustParseAddr("127.0.0.1"), MTU: 1500},
		},
		Settings: fleet.Settings{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}},
	}
}

// Agent is the pod side of the agent, wired as magpie-agent wires it. Its
// argument is the folder for its socket and ledger. It answers "true" when it
// serves.
func Agent(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var dir string
	if err := json.Unmarshal(arg, &dir); err != nil {
		return fmt.Errorf("decode folder: %w", err)
	}
	garbage.Agent.Keep()
	host, err := kernel.Open(kernel.Options{})
	if err != nil {
		return err
	}
	defer host.Close()
	journal, err := disk.OpenJournal(filepath.Join(dir, "ledger.db"))
	if err != nil {
		return err
	}
	defer journal.Close()
	ledger, err := cni.OpenLedger(journal, "bench")
	if err != nil {
		return err
	}
	v := view()
	var pods *cni.Server
	pods = cni.NewServer(cni.Config{
		View: func() (fleet.View, bool) { return v, true },
		World: host.Own(cni.Owner,
			kernel.WithNamespaces(func() []string { return pods.Namespaces() }),
			kernel.WithSysctls(func() []plan.SysctlKey { return pods.Settings() })),
		Door: host, Ledger: ledger, Now: time.Now,
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-stop; cancel() }()
	if err := pods.Recover(ctx); err != nil {
		return err
	}
	return serve(ctx, dir, host, pods, out)
}

func serve(ctx context.Context, dir string, host *kernel.Host, pods *cni.Server, out io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socketOf(dir))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	v := view()
	first := make(chan struct{})
	var once bool
	loop := reconcile.Loop[fleet.View, plan.Plan]{
		Name: "cni", Read: func() (fleet.View, error) { return v, nil }, Desire: pods.Desire, World: pods.World(),
		Wake: host.Watch(ctx), Gap: cni.RepairGap, Every: 30 * time.Second,
		Report: func(r reconcile.Round) {
			if !once && r.Err == nil {
				once = true
				close(first)
			}
		},
	}
	server := socket.Server{Handle: pods.Handle, Undelivered: pods.Undelivered, Limit: cni.CallsAtOnce, Patience: time.Minute, Now: time.Now}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return loop.Run(ctx) })
	group.Go(func() error { return server.Serve(ctx, l) })
	group.Go(func() error {
		select {
		case <-first:
			fmt.Fprintln(out, "true")
		case <-ctx.Done():
		}
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func socketOf(dir string) string { return filepath.Join(dir, "cni.sock") }
