// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/test/bench/result"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// counterJob waits for sessions, or holds streams open.
type counterJob struct {
	Port    int           `json:"port"`
	Nodes   int           `json:"nodes"`   // to wait for
	Streams int           `json:"streams"` // to open and hold
	Time    time.Duration `json:"time"`    // at most
}

// Counter is the role that waits for sessions: it answers "true" when they are
// there and its streams open, and holds those.
func Counter(arg json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	var job counterJob
	if err := json.Unmarshal(arg, &job); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), job.Time)
	defer cancel()
	if err := job.wait(ctx); err != nil {
		return err
	}
	client := clientJob{Addr: at(cloudAddr, job.Port+1), Node: node}
	for range job.Streams {
		c, err := client.dial(ctx, ping)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write(make([]byte, 64)); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if _, err := io.ReadFull(c, make([]byte, 64)); err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
	fmt.Fprintln(out, "true")
	<-stop
	return nil
}

func (j counterJob) wait(ctx context.Context) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", at(cloudAddr, j.Port+2))
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer c.Close()
	lines := bufio.NewReader(c)
	for nodes := -1; nodes < j.Nodes; {
		fmt.Fprintln(c)
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("count: %w", err)
		}
		if _, err := fmt.Sscan(line, &nodes); err != nil {
			return fmt.Errorf("count: %w", err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%d of %d nodes are connected: %w", nodes, j.Nodes, ctx.Err())
		}
	}
	return nil
}

// count runs a counter to its answer. It goes on holding streams until the
// world is closed.
func (w *world) count(ctx context.Context, j counterJob) error {
	_, err := w.start(ctx, w.cloud, RoleCounter, j)
	return err
}

// settle is how long a frugal process takes to give back what it can.
const settle = 3 * time.Second

// idle measures what a stream costs that does nothing.
func (w *world) idle(ctx context.Context) ([]result.Row, error) {
	const port, streams = 8010, 1000
	gateway, agent, err := w.pair(ctx, gatewayJob{Port: port, Frugal: true})
	if err != nil {
		return nil, err
	}
	defer gateway.Stop()
	defer agent.Stop()
	// The second connection is not what a stream costs.
	if err := w.count(ctx, counterJob{Port: port, Streams: 2, Time: time.Minute}); err != nil {
		return nil, err
	}
	var rows []result.Row
	ends := map[string]*stage.Child{"stream, gateway": gateway, "stream, agent": agent}
	before, err := resident(ends)
	if err != nil {
		return nil, err
	}
	if err := w.count(ctx, counterJob{Port: port, Streams: streams, Time: time.Minute}); err != nil {
		return nil, err
	}
	after, err := resident(ends)
	for name := range ends {
		rows = append(rows, result.Row{What: name, Unit: "B", Ours: []float64{(after[name] - before[name]) / streams}, Limit: 20e3})
	}
	return rows, err
}

func resident(children map[string]*stage.Child) (map[string]float64, error) {
	time.Sleep(settle)
	out := map[string]float64{}
	var errs []error
	for name, c := range children {
		n, err := c.Resident()
		out[name] = float64(n)
		errs = append(errs, err)
	}
	return out, errors.Join(errs...)
}

// storm measures what an idle agent costs the gateway, and how many of them come
// back after it started again on one core.
func (w *world) storm(ctx context.Context, agents int) ([]result.Row, error) {
	const port = 8020
	job := gatewayJob{Authority: w.authority, Port: port, OneCPU: true, Frugal: true}
	gateway, err := w.start(ctx, w.cloud, RoleGateway, job)
	if err != nil {
		return nil, err
	}
	defer func() { gateway.Stop() }()
	ends := map[string]*stage.Child{"": gateway}
	before, err := resident(ends)
	if err != nil {
		return nil, err
	}
	for _, a := range []agentJob{
		{Authority: w.authority, Port: port, Name: "many", Count: agents, Procs: 1},
		{Authority: w.authority, Port: port, Name: node, Count: 1},
	} {
		if _, err := w.start(ctx, w.edge, RoleAgent, a); err != nil {
			return nil, err
		}
	}
	if err := w.connected(ctx, port, agents+1); err != nil {
		return nil, err
	}
	after, err := resident(ends)
	if err != nil {
		return nil, err
	}
	gateway.Stop()
	job.Frugal = false
	if gateway, err = w.start(ctx, w.cloud, RoleGateway, job); err != nil {
		return nil, err
	}
	took, dials, err := w.comeBack(ctx, port, agents)
	return []result.Row{
		{What: "idle agent", Unit: "B", Ours: []float64{(after[""] - before[""]) / float64(agents)}, Limit: 40e3},
		{What: "storm: all back", Unit: "s", Ours: []float64{took}, Limit: 30},
		{What: "storm: dial p99", Unit: "s", Ours: []float64{dials.P99}, Limit: 1},
	}, err
}

// comeBack waits until all agents are back, and dials the one that is not one of
// many meanwhile.
func (w *world) comeBack(ctx context.Context, port, agents int) (float64, figures, error) {
	dialler, err := w.cloud.Start(ctx, RoleDialler, counterJob{Port: port, Nodes: agents + 1, Time: time.Minute})
	if err != nil {
		return 0, figures{}, err
	}
	defer dialler.Stop()
	var f struct {
		Took  float64 `json:"took"`
		Dials figures `json:"dials"`
	}
	err = dialler.Answer(&f)
	return f.Took, f.Dials, err
}

// Dialler is the role that opens streams to one node until all nodes are
// connected: it answers with how long that took and with how long each stream
// took to open, from when that node was back.
func Dialler(arg json.RawMessage, out io.Writer, _ <-chan struct{}) error {
	var job counterJob
	if err := json.Unmarshal(arg, &job); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), job.Time)
	defer cancel()
	start := time.Now()
	all := make(chan error, 1)
	go func() { all <- job.wait(ctx) }()
	var mu sync.Mutex
	var times []time.Duration
	client := clientJob{Addr: at(cloudAddr, job.Port+1), Node: node}
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-all:
			waiting = false
		case <-time.After(20 * time.Millisecond):
			go func() {
				begun := time.Now()
				c, err := client.dial(ctx, ping)
				if err != nil {
					return // not back yet
				}
				_ = c.Close()
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Since(begun))
			}()
		}
	}
	took := time.Since(start).Seconds()
	mu.Lock()
	defer mu.Unlock()
	if err == nil && len(times) == 0 {
		err = errors.New("no stream was opened before the storm was over")
	}
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(map[string]any{"took": took, "dials": quantiles(times)}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
