// SPDX-License-Identifier: Apache-2.0

// Bench measures Magpie against its peers, in namespaces of its own, and
// prints ratios of medians of one run beside their goals.
//
//	bench [-only overlay,link,cni,tunnel,storm,hub] [-rounds 5] [-time 2s] [-json FILE]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/magpie-edge/magpie/test/bench/cni"
	"github.com/magpie-edge/magpie/test/bench/hub"
	"github.com/magpie-edge/magpie/test/bench/link"
	"github.com/magpie-edge/magpie/test/bench/load"
	"github.com/magpie-edge/magpie/test/bench/overlay"
	"github.com/magpie-edge/magpie/test/bench/result"
	"github.com/magpie-edge/magpie/test/bench/stage"
	"github.com/magpie-edge/magpie/test/bench/tunnel"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:forbidigo // main is where a process ends
	}
}

// part is one benchmark. prepare, if any, runs outside of the namespaces, where
// modules can be fetched.
type part struct {
	name    string
	prepare func(context.Context) error
	run     func(ctx context.Context, rounds int, length time.Duration) ([]result.Row, error)
}

func parts() []part {
	return []part{
		{"cni", cni.Prepare, func(ctx context.Context, rounds int, _ time.Duration) ([]result.Row, error) {
			return cni.Run(ctx, cni.Options{Rounds: rounds})
		}},
		{"overlay", nil, func(ctx context.Context, rounds int, length time.Duration) ([]result.Row, error) {
			return overlay.Run(ctx, overlay.Options{Rounds: rounds, Time: length})
		}},
		{"link", nil, func(ctx context.Context, rounds int, length time.Duration) ([]result.Row, error) {
			return link.Run(ctx, link.Options{Rounds: rounds, Time: length})
		}},
		{"tunnel", nil, func(ctx context.Context, rounds int, length time.Duration) ([]result.Row, error) {
			return tunnel.Run(ctx, tunnel.Options{Rounds: rounds, Time: length})
		}},
		{"storm", nil, func(ctx context.Context, _ int, _ time.Duration) ([]result.Row, error) {
			return tunnel.Rest(ctx, 5000)
		}},
		{"hub", hub.Prepare, func(ctx context.Context, rounds int, _ time.Duration) ([]result.Row, error) {
			return hub.Run(ctx, hub.Options{Rounds: rounds})
		}},
	}
}

func run() error {
	roles := map[string]stage.Role{
		load.RoleServe: load.Serve, load.RoleRun: load.Run,
		overlay.RoleNode: overlay.Ours, link.RoleGateway: link.Gateway, link.RoleBare: link.Bare,
		cni.RoleAgent: cni.Agent, cni.RoleRuntime: cni.Runtime,
	}
	maps.Copy(roles, tunnel.Roles())
	hidden, err := stage.Hidden(roles)
	if hidden || err != nil {
		return err
	}
	only := flag.String("only", "", "comma-separated names of the benchmarks to run; all by default")
	rounds := flag.Int("rounds", 5, "samples of each figure")
	length := flag.Duration("time", 2*time.Second, "length of one sample")
	file := flag.String("json", "", "write the report to this file, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	todo := slices.DeleteFunc(parts(), func(p part) bool {
		return *only != "" && !strings.Contains(","+*only+",", ","+p.name+",")
	})
	if !stage.Inside() {
		if err := prepare(ctx, todo); err != nil {
			return err
		}
	}
	if done, err := stage.Enter(ctx); done || err != nil {
		return err
	}
	var report result.Report
	var errs []error
	for _, p := range todo {
		fmt.Fprintf(os.Stderr, "bench %s…\n", p.name)
		rows, err := p.run(ctx, *rounds, *length)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
		report.Rows = append(report.Rows, rows...)
	}
	return errors.Join(append(errs, show(report, *file))...)
}

func prepare(ctx context.Context, todo []part) error {
	for _, p := range todo {
		if p.prepare == nil {
			continue
		}
		if err := p.prepare(ctx); err != nil {
			return fmt.Errorf("prepare %s: %w", p.name, err)
		}
	}
	return nil
}

func show(r result.Report, file string) error {
	r.Table(os.Stdout)
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := errors.Join(r.JSON(f), f.Close()); err != nil {
			return err
		}
	}
	if !r.OK() {
		return errors.New("not every goal is met")
	}
	return nil
}
