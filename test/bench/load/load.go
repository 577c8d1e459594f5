// SPDX-License-Identifier: Apache-2.0

package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/test/bench/stage"
)

// Kind is what traffic to make.
type Kind byte

// The kinds; the value is the first byte of a connection.
const (
	Stream Kind = 's'
	RR     Kind = 'r'
	CRR    Kind = 'c'
)

// RoleServe and RoleRun are the names under which stage.Hidden knows Serve and
// Run.
const (
	RoleServe = "serve"
	RoleRun   = "load"
)

// Port is where the server listens.
const Port = 7000

// Job is one run of the client, or where the server listens.
type Job struct {
	Addr netip.Addr    `json:"addr"`
	CPU  int           `json:"cpu"`
	Kind Kind          `json:"kind,omitempty"`
	Time time.Duration `json:"time,omitempty"`
}

// Result is what a run of the client came to.
type Result struct {
	Count int64         `json:"count"` // bytes or transactions
	Took  time.Duration `json:"took"`
}

// PerSecond returns bits a second for Stream, else transactions a second.
func (r Result) PerSecond(k Kind) float64 {
	n := float64(r.Count) / r.Took.Seconds()
	if k == Stream {
		n *= 8
	}
	return n
}

// Serve is the role of the server: it answers "true" when it listens.
func Serve(arg json.RawMessage, out io.Writer, _ <-chan struct{}) error {
	job, err := parse(arg)
	if err != nil {
		return err
	}
	l, err := socket(job.Addr)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(l, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return fmt.Errorf("reuse address: %w", err)
	}
	if err := unix.Bind(l, sockaddr(job.Addr)); err != nil {
		return fmt.Errorf("bind %s: %w", job.Addr, err)
	}
	if err := unix.Listen(l, 512); err != nil {
		return fmt.Errorf("listen on %s: %w", job.Addr, err)
	}
	fmt.Fprintln(out, "true")
	buf := make([]byte, 256<<10)
	for {
		c, _, err := unix.Accept(l)
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		serve(c, buf)
		_ = unix.Close(c)
	}
}

// serve answers one connection until the client is done with it. A client that
// went away is no fault of the server.
func serve(c int, buf []byte) {
	noDelay(c)
	n, err := read(c, buf[:1])
	if n != 1 || err != nil {
		return
	}
	switch Kind(buf[0]) {
	case Stream:
		for n > 0 && err == nil {
			n, err = read(c, buf)
		}
	case RR:
		for n > 0 && err == nil {
			if _, err = write(c, buf[:1]); err == nil {
				n, err = read(c, buf[:1])
			}
		}
	case CRR:
		_, _ = write(c, buf[:1])
	}
}

// Run is the role of the client: it answers with a Result.
func Run(arg json.RawMessage, out io.Writer, _ <-chan struct{}) error {
	job, err := parse(arg)
	if err != nil {
		return err
	}
	r, err := run(job)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(r); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}

func parse(arg json.RawMessage) (Job, error) {
	var job Job
	if err := json.Unmarshal(arg, &job); err != nil {
		return job, fmt.Errorf("decode job: %w", err)
	}
	if job.CPU < 0 {
		return job, nil
	}
	return job, stage.Pin(job.CPU)
}

func run(job Job) (Result, error) {
	if job.Kind == CRR {
		return crr(job)
	}
	c, err := connect(job)
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(c)
	buf := make([]byte, 128<<10)
	buf[0] = byte(job.Kind)
	if _, err := write(c, buf[:1]); err != nil {
		return Result{}, fmt.Errorf("send: %w", err)
	}
	if job.Kind == Stream {
		return measure(job.Time, 1, func() (int64, error) {
			n, err := write(c, buf)
			return int64(n), err
		})
	}
	return measure(job.Time, 64, func() (int64, error) {
		if n, err := read(c, buf[:1]); n != 1 || err != nil {
			return 0, errors.Join(io.ErrUnexpectedEOF, err)
		}
		_, err := write(c, buf[:1])
		return 1, err
	})
}

func crr(job Job) (Result, error) {
	buf := []byte{byte(CRR)}
	return measure(job.Time, 16, func() (int64, error) {
		c, err := connect(job)
		if err != nil {
			return 0, err
		}
		defer unix.Close(c)
		if _, err := write(c, buf); err != nil {
			return 0, err
		}
		if n, err := read(c, buf); n != 1 || err != nil {
			return 0, errors.Join(io.ErrUnexpectedEOF, err)
		}
		_, err = read(c, buf) // the server closes first
		buf[0] = byte(CRR)
		return 1, err
	})
}

// measure calls f for about that long and looks at the clock after each batch.
func measure(d time.Duration, batch int, f func() (int64, error)) (Result, error) {
	var r Result
	start := time.Now()
	for r.Took < d {
		for range batch {
			n, err := f()
			if err != nil {
				return r, fmt.Errorf("after %d: %w", r.Count, err)
			}
			r.Count += n
		}
		r.Took = time.Since(start)
	}
	return r, nil
}
