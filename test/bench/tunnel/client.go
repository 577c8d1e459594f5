// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// kind is what a connection to the service is for: its first byte.
type kind byte

const (
	download kind = 'd' // the service sends until the client closes
	upload   kind = 'u' // the service counts until the client ends, and answers
	ping     kind = 'e' // the service echoes
)

// plenty of processors, by Go's count, for client and service: with as many as
// there are, whoever copies keeps the one that echoes waiting inside of its own
// process, and that would be measured too.
const plenty = 8

// Service is the role of what the streams end at: it answers "true" when it
// listens.
func Service(_ json.RawMessage, out io.Writer, stop <-chan struct{}) error {
	prepare(plenty, false)
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", at("", servicePort))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	go accept(l, serve)
	fmt.Fprintln(out, "true")
	<-stop
	return nil
}

func serve(c net.Conn) {
	defer c.Close()
	var first [1]byte
	if _, err := io.ReadFull(c, first[:]); err != nil {
		return
	}
	switch kind(first[0]) {
	case download:
		buf := make([]byte, 256<<10)
		for err := error(nil); err == nil; {
			_, err = c.Write(buf)
		}
	case upload:
		n, _ := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		_ = binary.Write(c, binary.BigEndian, n)
	case ping:
		_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 64))
	}
}

// clientJob is one measurement.
type clientJob struct {
	Addr string        `json:"addr"`
	Node string        `json:"node,omitempty"` // through a gateway; "" is direct
	Kind kind          `json:"kind"`
	Time time.Duration `json:"time"`
	// Beside is a download at the same time, Stuck are downloads that nobody
	// reads.
	Beside bool `json:"beside,omitempty"`
	Stuck  int  `json:"stuck,omitempty"`
}

// figures are what a measurement comes to.
type figures struct {
	PerSecond float64 `json:"perSecond"` // bits; of the download beside, if there is one
	P50       float64 `json:"p50"`       // seconds
	P99       float64 `json:"p99"`
}

// Client is the role that measures: it answers with figures.
func Client(arg json.RawMessage, out io.Writer, _ <-chan struct{}) error {
	var job clientJob
	if err := json.Unmarshal(arg, &job); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	prepare(plenty, false)
	ctx, cancel := context.WithTimeout(context.Background(), job.Time+30*time.Second)
	defer cancel()
	f, err := job.run(ctx)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(f); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func (j clientJob) run(ctx context.Context) (figures, error) {
	for range j.Stuck {
		c, err := j.dial(ctx, download)
		if err != nil {
			return figures{}, err
		}
		defer c.Close()
	}
	var beside atomic.Int64
	if j.Beside {
		c, err := j.dial(ctx, download)
		if err != nil {
			return figures{}, err
		}
		defer c.Close()
		go func() {
			buf := make([]byte, 256<<10)
			for n, err := 0, error(nil); err == nil; beside.Add(int64(n)) {
				n, err = c.Read(buf)
			}
		}()
	}
	if j.Beside || j.Stuck > 0 {
		time.Sleep(500 * time.Millisecond)
	}
	before := beside.Load()
	c, err := j.dial(ctx, j.Kind)
	if err != nil {
		return figures{}, err
	}
	defer c.Close()
	switch j.Kind {
	case ping:
		f, err := echoes(c, j.Time)
		if j.Beside {
			f.PerSecond = float64(beside.Load()-before) * 8 / j.Time.Seconds()
		}
		return f, err
	case upload:
		return push(c, j.Time)
	default:
		return pull(c, j.Time)
	}
}

// dial connects, through the gateway if there is one, and says what for.
func (j clientJob) dial(ctx context.Context, k kind) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", j.Addr)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if j.Node != "" {
		if err := ask(c, j.Node); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	if _, err := c.Write([]byte{byte(k)}); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	return c, nil
}

var errRefused = errors.New("the gateway refused")

// ask names the node to a gateway.
func ask(c net.Conn, node string) error {
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	fmt.Fprintln(c, node)
	// The gateway says nothing behind its line until we do.
	answer, err := bufio.NewReaderSize(c, 64).ReadString('\n')
	if err != nil || answer != "ok\n" {
		return fmt.Errorf("ask for %s: %q: %w", node, answer, cmp.Or(err, errRefused))
	}
	return c.SetDeadline(time.Time{})
}

func pull(c net.Conn, d time.Duration) (figures, error) {
	buf := make([]byte, 256<<10)
	var n int64
	count := func(d time.Duration) (time.Duration, error) {
		n = 0
		start := time.Now()
		for time.Since(start) < d {
			m, err := c.Read(buf)
			if err != nil {
				return 0, fmt.Errorf("read: %w", err)
			}
			n += int64(m)
		}
		return time.Since(start), nil
	}
	if _, err := count(d / 4); err != nil { // windows grow first
		return figures{}, err
	}
	took, err := count(d)
	return figures{PerSecond: float64(n) * 8 / took.Seconds()}, err
}

func push(c net.Conn, d time.Duration) (figures, error) {
	buf := make([]byte, 256<<10)
	start := time.Now()
	for time.Since(start) < d {
		if _, err := c.Write(buf); err != nil {
			return figures{}, fmt.Errorf("write: %w", err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil { //nolint:forcetypeassert // dial makes no other
		return figures{}, fmt.Errorf("end: %w", err)
	}
	var n int64
	if err := binary.Read(c, binary.BigEndian, &n); err != nil {
		return figures{}, fmt.Errorf("read count: %w", err)
	}
	return figures{PerSecond: float64(n) * 8 / time.Since(start).Seconds()}, nil
}

func echoes(c net.Conn, d time.Duration) (figures, error) {
	buf := make([]byte, 64)
	var all []time.Duration
	for start := time.Now(); time.Since(start) < d; {
		sent := time.Now()
		if _, err := c.Write(buf); err != nil {
			return figures{}, fmt.Errorf("write: %w", err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return figures{}, fmt.Errorf("read: %w", err)
		}
		all = append(all, time.Since(sent))
	}
	return quantiles(all), nil
}

func quantiles(all []time.Duration) figures {
	slices.Sort(all)
	if len(all) == 0 {
		return figures{}
	}
	return figures{P50: all[len(all)/2].Seconds(), P99: all[len(all)*99/100].Seconds()}
}
