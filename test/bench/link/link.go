// SPDX-License-Identifier: Apache-2.0

package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/magpie-edge/magpie/test/bench/load"
	"github.com/magpie-edge/magpie/test/bench/result"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// RoleGateway and RoleBare are the names under which stage.Hidden knows
// Gateway and Bare.
const (
	RoleGateway = "link-gateway"
	RoleBare    = "link-bare"
)

// wireName is the veth pair's name at both ends.
const wireName = "wire"

// Options bound the measurement.
type Options struct {
	Rounds int
	Time   time.Duration
}

// pair is a tunnel and where its traffic begins and ends.
type pair struct {
	hosts, pods [2]*stage.Space // pods are the hosts in the bare pair
	tunnels     [2]*stage.Child
	server      *stage.Child
	to          netip.Addr
}

func (p *pair) close() {
	for _, c := range append(p.tunnels[:], p.server) {
		if c != nil {
			c.Stop()
		}
	}
	for _, s := range append(p.pods[:], p.hosts[:]...) {
		if s != nil {
			s.Close()
		}
	}
}

// Run measures both tunnels in turns.
func Run(ctx context.Context, o Options) ([]result.Row, error) {
	ours, err := build(ctx, RoleGateway)
	defer ours.close()
	if err != nil {
		return nil, fmt.Errorf("our link: %w", err)
	}
	bare, err := build(ctx, RoleBare)
	defer bare.close()
	if err != nil {
		return nil, fmt.Errorf("bare pair: %w", err)
	}
	kinds := []load.Kind{load.Stream, load.RR}
	rows := []result.Row{
		{What: "TCP stream", Unit: "bit/s", AtLeast: 0.95},
		{What: "TCP_RR", Unit: "/s"},
	}
	for range o.Rounds {
		for i, k := range kinds {
			a, err := ours.measure(ctx, k, o.Time)
			if err != nil {
				return nil, fmt.Errorf("our link: %s: %w", rows[i].What, err)
			}
			b, err := bare.measure(ctx, k, o.Time)
			if err != nil {
				return nil, fmt.Errorf("bare pair: %s: %w", rows[i].What, err)
			}
			rows[i].Ours = append(rows[i].Ours, a.PerSecond(k))
			rows[i].Theirs = append(rows[i].Theirs, b.PerSecond(k))
		}
	}
	// The library's buffers depend on how packets happened to queue up: the
	// same pair differs by a tenth from run to run.
	memory := result.Row{What: "memory, both ends", Unit: "B", AtMost: 1.1}
	a, err1 := ours.memory()
	b, err2 := bare.memory()
	memory.Ours, memory.Theirs = []float64{a}, []float64{b}
	rows = append(rows, memory)
	for i := range rows {
		rows[i].Bench, rows[i].Peer = "link", "bare wireguard-go pair"
	}
	return rows, errors.Join(err1, err2)
}

// build makes a pair of that role. What it returns is to be closed also when
// there is an error.
func build(ctx context.Context, role string) (*pair, error) {
	p := &pair{}
	var err error
	for i := range p.hosts {
		if p.hosts[i], err = stage.NewSpace(ctx); err != nil {
			return p, err
		}
		if role == RoleGateway {
			if p.pods[i], err = stage.NewSpace(ctx); err != nil {
				return p, err
			}
		}
	}
	if err := p.wire(ctx); err != nil {
		return p, err
	}
	ends, err := keys()
	if err != nil {
		return p, err
	}
	for i, e := range ends {
		if role == RoleGateway {
			e.PodNS = p.pods[i].Path
		}
		if p.tunnels[i], err = p.hosts[i].Start(ctx, role, e); err != nil {
			return p, err
		}
		var ok bool
		if err := p.tunnels[i].Answer(&ok); err != nil {
			return p, err
		}
	}
	return p, p.serve(ctx, ends[1])
}

// serve starts the server at the far end.
func (p *pair) serve(ctx context.Context, e end) error {
	at := p.pods[1]
	p.to = e.pod()
	if at == nil {
		at, p.to = p.hosts[1], e.inner()
	}
	var err error
	if p.server, err = at.Start(ctx, load.RoleServe, load.Job{Addr: p.to, CPU: runtime.NumCPU() - 1}); err != nil {
		return err
	}
	var ok bool
	return p.server.Answer(&ok)
}

func (p *pair) wire(ctx context.Context) error {
	errs := []error{p.hosts[0].Command(ctx, "ip", "link", "add", wireName, "type", "veth",
		"peer", "name", wireName, "netns", strconv.Itoa(p.hosts[1].PID()))}
	for i, s := range p.hosts {
		errs = append(errs,
			s.Command(ctx, "ip", "addr", "add", end{Number: i + 1}.addr().String()+"/24", "dev", wireName),
			s.Command(ctx, "ip", "link", "set", wireName, "up"))
	}
	return errors.Join(errs...)
}

func keys() ([2]end, error) {
	ends := [2]end{{Number: 1}, {Number: 2}}
	var public [2]string
	for i := range ends {
		k, err := wgtypes.GeneratePrivateKey()
		if err != nil {
			return ends, fmt.Errorf("make key: %w", err)
		}
		ends[i].Private, public[i] = k.String(), k.PublicKey().String()
	}
	ends[0].Public, ends[1].Public = public, public
	return ends, nil
}

func (p *pair) measure(ctx context.Context, k load.Kind, d time.Duration) (load.Result, error) {
	at := p.pods[0]
	if at == nil {
		at = p.hosts[0]
	}
	c, err := at.Start(ctx, load.RoleRun, load.Job{Addr: p.to, CPU: 0, Kind: k, Time: d})
	if err != nil {
		return load.Result{}, err
	}
	defer c.Stop()
	var r load.Result
	err = c.Answer(&r)
	return r, err
}

// memory is the most that both tunnels have had.
func (p *pair) memory() (float64, error) {
	sum := 0.0
	for _, t := range p.tunnels {
		n, err := t.Memory()
		if err != nil {
			return 0, err
		}
		sum += float64(n)
	}
	return sum, nil
}
