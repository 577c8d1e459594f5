// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/magpie-edge/magpie/test/bench/load"
	"github.com/magpie-edge/magpie/test/bench/result"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// RoleNode is the name under which stage.Hidden knows Ours.
const RoleNode = "overlay-node"

// Options bound the measurement.
type Options struct {
	Rounds int           // samples of each figure
	Time   time.Duration // of one sample
}

// layout is two nodes and their pods.
type layout struct {
	nodes, pods [2]*stage.Space
	server      *stage.Child
}

func (l *layout) close() {
	if l.server != nil {
		l.server.Stop()
	}
	for _, s := range append(l.pods[:], l.nodes[:]...) {
		if s != nil {
			s.Close()
		}
	}
}

// Run measures both layouts in turns and returns a row for each kind of load.
func Run(ctx context.Context, o Options) ([]result.Row, error) {
	cpu := runtime.NumCPU() - 1
	ours, err := build(ctx, cpu, makeOurs)
	defer ours.close()
	if err != nil {
		return nil, fmt.Errorf("our layout: %w", err)
	}
	theirs, err := build(ctx, cpu, flannel)
	defer theirs.close()
	if err != nil {
		return nil, fmt.Errorf("bridge layout: %w", err)
	}
	rows := []result.Row{
		{What: "TCP stream", Unit: "bit/s", AtLeast: 1.0},
		{What: "TCP_RR", Unit: "/s", AtLeast: 1.1},
		{What: "TCP_CRR", Unit: "/s", AtLeast: 1.0},
	}
	kinds := []load.Kind{load.Stream, load.RR, load.CRR}
	for range o.Rounds {
		for i, k := range kinds {
			job := load.Job{Addr: node{Number: 2}.pod(), CPU: cpu, Kind: k, Time: o.Time}
			a, err := measure(ctx, ours, job)
			if err != nil {
				return nil, fmt.Errorf("our layout: %s: %w", rows[i].What, err)
			}
			b, err := measure(ctx, theirs, job)
			if err != nil {
				return nil, fmt.Errorf("bridge layout: %s: %w", rows[i].What, err)
			}
			rows[i].Ours = append(rows[i].Ours, a.PerSecond(k))
			rows[i].Theirs = append(rows[i].Theirs, b.PerSecond(k))
		}
	}
	for i := range rows {
		rows[i].Bench, rows[i].Peer = "overlay", "bridge+VXLAN as Flannel makes it"
	}
	return rows, nil
}

// maker furnishes one node and its pod.
type maker func(ctx context.Context, n node, at, pod *stage.Space) error

func makeOurs(ctx context.Context, n node, at, pod *stage.Space) error {
	n.PodNS = pod.Path
	c, err := at.Start(ctx, RoleNode, n)
	if err != nil {
		return err
	}
	defer c.Stop()
	var ok bool
	return c.Answer(&ok)
}

// build makes a layout and starts the server in its second pod. What it
// returns is to be closed also when there is an error.
func build(ctx context.Context, cpu int, furnish maker) (*layout, error) {
	l := &layout{}
	var err error
	for i := range l.nodes {
		if l.nodes[i], err = stage.NewSpace(ctx); err != nil {
			return l, err
		}
		if l.pods[i], err = stage.NewSpace(ctx); err != nil {
			return l, err
		}
	}
	if err := wire(ctx, l.nodes); err != nil {
		return l, err
	}
	for i := range l.nodes {
		if err := furnish(ctx, node{Number: i + 1}, l.nodes[i], l.pods[i]); err != nil {
			return l, err
		}
	}
	for _, p := range l.pods {
		// A connection a transaction uses many ports.
		if err := p.Command(ctx, "sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65000"); err != nil {
			return l, err
		}
	}
	if l.server, err = l.pods[1].Start(ctx, load.RoleServe, load.Job{Addr: node{Number: 2}.pod(), CPU: cpu}); err != nil {
		return l, err
	}
	var ok bool
	return l, l.server.Answer(&ok)
}

// wire joins two nodes by a veth pair.
func wire(ctx context.Context, at [2]*stage.Space) error {
	errs := []error{at[0].Command(ctx, "ip", "link", "add", underlay, "type", "veth",
		"peer", "name", underlay, "netns", strconv.Itoa(at[1].PID()))}
	for i, s := range at {
		errs = append(errs,
			s.Command(ctx, "ip", "addr", "add", node{Number: i + 1}.addr().String()+"/24", "dev", underlay),
			s.Command(ctx, "ip", "link", "set", underlay, "up"))
	}
	return errors.Join(errs...)
}

func measure(ctx context.Context, l *layout, job load.Job) (load.Result, error) {
	c, err := l.pods[0].Start(ctx, load.RoleRun, job)
	if err != nil {
		return load.Result{}, err
	}
	defer c.Stop()
	var r load.Result
	err = c.Answer(&r)
	return r, err
}
