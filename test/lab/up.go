// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// Up brings the lab up, or what is missing of it.
func Up(ctx context.Context, opt Options) (*Lab, error) {
	l, err := New(opt)
	if err != nil {
		return nil, err
	}
	if os.Getuid() != 0 {
		return nil, errors.New("the lab needs root: it makes namespaces with real mounts and cgroups")
	}
	if err := l.Build(ctx); err != nil {
		return nil, err
	}
	unlock, err := l.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	images, err := l.Images(ctx)
	if err != nil {
		return nil, err
	}
	run := machine.ReadRun(l.dir)
	if run == "" {
		if err := checkInotify(opt.Bare); err != nil {
			return nil, err
		}
		run = strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	u := &upping{Lab: l, run: run, images: images}
	for _, s := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"prepare certificates and machine files", u.prepare},
		{"start machines and lay cables", u.machines},
		{"start the control plane", u.controlPlane},
		{"import images", u.importImages},
		{"install the chart", u.install},
		{"join nodes", u.join},
		{"wait for nodes", u.waitNodes},
		{"lead the API server through the tunnel", u.egress},
		{"lead kube-proxy and CoreDNS through the hub", u.hub},
		{"wait for the cluster's DNS", u.waitDNS},
		{"wait until CoreDNS has caught up", u.waitServices},
	} {
		done := opt.Show.Step(s.what, 0, 0)
		err := s.do(ctx)
		done(err)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return l, nil
}

// Build makes every binary that the lab needs and does not have.
func (l *Lab) Build(ctx context.Context) error {
	if m := fetch.Missing(); len(m) > 0 {
		return fmt.Errorf("this machine lacks Debian packages: apt-get install -y --no-install-recommends %s (or `magpie-lab build --install`)", m)
	}
	labDir := filepath.Join(l.opt.Repo, "test", "lab")
	if err := fetch.Build(ctx, l.opt.Cache, labDir, fetch.Tools(), l.opt.Show); err != nil {
		return err
	}
	if l.opt.NoBuild {
		return nil
	}
	done := l.opt.Show.Step("build the product", 0, 0)
	err := fetch.Product(ctx, l.opt.Repo)
	done(err)
	return err
}

// BuildMore makes programs that no lab runs and some tests need.
func (l *Lab) BuildMore(ctx context.Context, tools []fetch.Tool) error {
	return fetch.Build(ctx, l.opt.Cache, filepath.Join(l.opt.Repo, "test", "lab"), tools, l.opt.Show)
}

// upping is one run of Up.
type upping struct {
	*Lab
	run    string
	images []nodeImage
}

func (u *upping) prepare(context.Context) error {
	if err := u.linkTools(); err != nil {
		return err
	}
	if err := u.makePKI(); err != nil {
		return err
	}
	for _, name := range world.Machines() {
		if err := u.writeNodeFiles(name); err != nil {
			return err
		}
	}
	if err := u.writeControlPlaneSecrets(); err != nil {
		return err
	}
	return machine.WriteRun(u.dir, u.run)
}

func (u *upping) machines(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)
	for _, name := range world.Machines() {
		g.Go(func() error { return machine.Start(gctx, u.exe(), u.spec(name, u.run)) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := world.Wire(ctx, u.dir); err != nil {
		return err
	}
	return u.applyFaults(ctx)
}

func (l *Lab) spec(name, run string) machine.Spec {
	return machine.Spec{Name: name, Lab: l.dir, Bin: filepath.Join(l.dir, "bin"), Run: run}
}

// controlPlane boots all machines, the control plane first, and waits until
// the API answers through the relay.
func (u *upping) controlPlane(ctx context.Context) error {
	if err := machine.Boot(ctx, u.dir, world.ControlPlane); err != nil {
		return err
	}
	port, err := u.startRelay(ctx, u.run)
	if err != nil {
		return err
	}
	if err := u.writeKubeconfig(u.Kubeconfig(), "admin", "https://127.0.0.1:"+port); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	for _, name := range world.Machines() {
		if name != world.ControlPlane {
			g.Go(func() error { return machine.Boot(gctx, u.dir, name) })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	err = poll(ctx, 90*time.Second, func() error {
		_, err := u.get(ctx, "/readyz")
		return err
	})
	if err != nil {
		return fmt.Errorf("API server is not ready (see %s): %w", u.LogFile(world.ControlPlane, "kube-apiserver"), err)
	}
	return nil
}

// Down ends the lab: every machine, the relay, and all state but the logs if
// keepLogs is set. What was built stays.
func (l *Lab) Down(ctx context.Context, keepLogs bool) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := machine.WriteRun(l.dir, ""); err != nil {
		return err
	}
	done := l.opt.Show.Step("stop machines", 0, 0)
	g, _ := errgroup.WithContext(ctx)
	for _, name := range append(world.Machines(), relayName) {
		g.Go(func() error { return machine.Kill(l.dir, name) })
	}
	err = g.Wait()
	done(err)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("remove lab: %w", err)
	}
	for _, e := range entries {
		if keepLogs && (e.Name() == "logs") {
			continue
		}
		if err := os.RemoveAll(filepath.Join(l.dir, e.Name())); err != nil {
			return fmt.Errorf("remove lab: %w", err)
		}
	}
	if !keepLogs {
		_ = os.Remove(l.dir)
	}
	return nil
}
