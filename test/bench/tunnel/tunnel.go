// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/magpie-edge/magpie/test/bench/result"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// Names under which stage.Hidden knows the roles.
const (
	RoleGateway = "tunnel-gateway"
	RoleAgent   = "tunnel-agent"
	RoleService = "tunnel-service"
	RoleClient  = "tunnel-client"
	RoleCounter = "tunnel-counter"
	RoleDialler = "tunnel-dialler"
)

// Roles are all of them.
func Roles() map[string]stage.Role {
	return map[string]stage.Role{
		RoleGateway: Gateway, RoleAgent: Agent, RoleService: Service, RoleClient: Client,
		RoleCounter: Counter, RoleDialler: Dialler,
	}
}

// node is the name of the agent that is not one of many.
const node = "node"

// Options bound the measurement.
type Options struct {
	Rounds int
	Time   time.Duration
}

// world is the two namespaces and what runs in them all the time.
type world struct {
	cloud, edge *stage.Space
	children    []*stage.Child
	authority   authority
}

func (w *world) close() {
	for _, c := range w.children {
		c.Stop()
	}
	for _, s := range []*stage.Space{w.cloud, w.edge} {
		if s != nil {
			s.Close()
		}
	}
}

// Run measures what moves.
func Run(ctx context.Context, o Options) ([]result.Row, error) {
	return in(ctx, func(w *world) ([]result.Row, error) { return w.speed(ctx, o) })
}

// Rest measures what rests, and a storm of that many agents.
func Rest(ctx context.Context, agents int) ([]result.Row, error) {
	return in(ctx, func(w *world) ([]result.Row, error) {
		idle, err1 := w.idle(ctx)
		storm, err2 := w.storm(ctx, agents)
		return append(idle, storm...), errors.Join(err1, err2)
	})
}

// in measures in a world of its own.
func in(ctx context.Context, measure func(*world) ([]result.Row, error)) ([]result.Row, error) {
	w, err := build(ctx)
	defer w.close()
	if err != nil {
		return nil, err
	}
	rows, err := measure(w)
	for i := range rows {
		rows[i].Bench = "tunnel"
		if rows[i].Peer == "" {
			rows[i].Peer = "direct TCP"
		}
	}
	return rows, err
}

// build makes the namespaces and the service. What it returns is to be closed
// also when there is an error.
func build(ctx context.Context) (*world, error) {
	w := &world{}
	var err error
	if w.authority, err = newAuthority(); err != nil {
		return w, err
	}
	if w.cloud, err = stage.NewSpace(ctx); err != nil {
		return w, err
	}
	if w.edge, err = stage.NewSpace(ctx); err != nil {
		return w, err
	}
	errs := []error{w.cloud.Command(ctx, "ip", "link", "add", "wire", "type", "veth",
		"peer", "name", "wire", "netns", strconv.Itoa(w.edge.PID()))}
	for s, addr := range map[*stage.Space]string{w.cloud: cloudAddr, w.edge: edgeAddr} {
		errs = append(errs,
			s.Command(ctx, "ip", "addr", "add", addr+"/24", "dev", "wire"),
			s.Command(ctx, "ip", "link", "set", "wire", "up"))
	}
	if err := errors.Join(errs...); err != nil {
		return w, err
	}
	_, err = w.start(ctx, w.edge, RoleService, nil)
	return w, err
}

// start starts a role that answers when it is ready.
func (w *world) start(ctx context.Context, s *stage.Space, role string, arg any) (*stage.Child, error) {
	c, err := s.Start(ctx, role, arg)
	if err != nil {
		return nil, err
	}
	w.children = append(w.children, c)
	var ok bool
	return c, c.Answer(&ok)
}

// pair starts a gateway and one agent, and waits until they are connected.
func (w *world) pair(ctx context.Context, g gatewayJob) (gateway, agent *stage.Child, err error) {
	g.Authority = w.authority
	a := agentJob{Authority: w.authority, Port: g.Port, Name: node, Count: 1, Frugal: g.Frugal}
	if dir := os.Getenv(profileEnv); dir != "" && !g.Frugal {
		g.Profile, a.Profile = filepath.Join(dir, "gateway.pprof"), filepath.Join(dir, "agent.pprof")
	}
	if gateway, err = w.start(ctx, w.cloud, RoleGateway, g); err != nil {
		return nil, nil, err
	}
	if agent, err = w.start(ctx, w.edge, RoleAgent, a); err != nil {
		return nil, nil, err
	}
	return gateway, agent, w.connected(ctx, g.Port, 1)
}

// connected waits until so many nodes are.
func (w *world) connected(ctx context.Context, port, nodes int) error {
	return w.count(ctx, counterJob{Port: port, Nodes: nodes, Time: time.Minute})
}

func (w *world) measure(ctx context.Context, j clientJob) (figures, error) {
	c, err := w.cloud.Start(ctx, RoleClient, j)
	if err != nil {
		return figures{}, err
	}
	defer c.Stop()
	var f figures
	err = c.Answer(&f)
	return f, err
}

// speed measures what moves. The first stream makes the agent dial its second
// connection, so one measurement before all others is thrown away.
func (w *world) speed(ctx context.Context, o Options) ([]result.Row, error) {
	const port = 8000
	gateway, agent, err := w.pair(ctx, gatewayJob{Port: port})
	if err != nil {
		return nil, err
	}
	defer gateway.Stop()
	defer agent.Stop()
	direct := clientJob{Addr: at(edgeAddr, servicePort), Time: o.Time}
	through := clientJob{Addr: at(cloudAddr, port+1), Node: node, Time: o.Time}
	if _, err := w.measure(ctx, through.with(ping)); err != nil {
		return nil, err
	}
	var t table
	for range o.Rounds {
		if err := t.round(ctx, w.measure, direct, through); err != nil {
			return nil, fmt.Errorf("after %d rounds: %w", len(t.idle), err)
		}
	}
	return t.rows(), nil
}

func (j clientJob) with(k kind) clientJob {
	j.Kind = k
	return j
}

// table collects samples.
type table struct {
	down, downDirect, downStuck       []float64
	up, upDirect                      []float64
	idle, idleDirect                  []float64
	beside, besideWorst, besideDirect []float64
	idleWorst, stuckWorst             []float64
	besideDirectWorst                 []float64
	besideBulk, besideDirectBulk      []float64
}

func (t *table) round(ctx context.Context, measure func(context.Context, clientJob) (figures, error), direct, through clientJob) error {
	beside, besideDirect, stuck := through.with(ping), direct.with(ping), through
	beside.Beside, besideDirect.Beside, stuck.Stuck = true, true, 1
	for _, m := range []struct {
		job    clientJob
		p50    *[]float64
		p99    *[]float64
		perSec *[]float64
	}{
		{direct.with(download), nil, nil, &t.downDirect},
		{through.with(download), nil, nil, &t.down},
		{stuck.with(download), nil, nil, &t.downStuck},
		{direct.with(upload), nil, nil, &t.upDirect},
		{through.with(upload), nil, nil, &t.up},
		{direct.with(ping), &t.idleDirect, nil, nil},
		{through.with(ping), &t.idle, &t.idleWorst, nil},
		{stuck.with(ping), nil, &t.stuckWorst, nil},
		{besideDirect, &t.besideDirect, &t.besideDirectWorst, &t.besideDirectBulk},
		{beside, &t.beside, &t.besideWorst, &t.besideBulk},
	} {
		f, err := measure(ctx, m.job)
		if err != nil {
			return err
		}
		for list, v := range map[*[]float64]float64{m.p50: f.P50, m.p99: f.P99, m.perSec: f.PerSecond} {
			if list != nil {
				*list = append(*list, v)
			}
		}
	}
	return nil
}

func (t *table) rows() []result.Row {
	return []result.Row{
		{What: "edge to cloud", Unit: "bit/s", Ours: t.down, Theirs: t.downDirect, AtLeast: 0.33},
		{What: "cloud to edge", Unit: "bit/s", Ours: t.up, Theirs: t.upDirect, AtLeast: 0.33},
		{What: "echo p50", Unit: "s", Ours: t.idle, Theirs: t.idleDirect, Limit: 150e-6},
		{What: "beside bulk p50", Unit: "s", Ours: t.beside, Theirs: t.besideDirect, Limit: 200e-6},
		{What: "beside bulk p99", Unit: "s", Ours: t.besideWorst, Theirs: t.besideDirectWorst, Limit: 5e-3},
		{What: "bulk beside echo", Unit: "bit/s", Ours: t.besideBulk, Theirs: t.besideDirectBulk},
		// A reader that does not read is compared with none. Two runs of the
		// same thing differ by as much on a machine that is not idle.
		{What: "stuck: bulk", Unit: "bit/s", Ours: t.downStuck, Theirs: t.down, AtLeast: 0.8, Peer: "no stuck reader"},
		{What: "stuck: echo p99", Unit: "s", Ours: t.stuckWorst, Theirs: t.idleWorst, AtMost: 1.5, Peer: "no stuck reader"},
	}
}
