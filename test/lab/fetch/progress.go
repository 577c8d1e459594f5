// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Progress shows what is being done and for how long: on a terminal one line
// that counts, elsewhere plain lines. The zero value and nil show nothing.
type Progress struct {
	mu   sync.Mutex
	out  io.Writer
	live bool
}

// NewProgress shows on f.
func NewProgress(f *os.File) *Progress {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return &Progress{out: f, live: err == nil}
}

// Line prints one line.
func (p *Progress) Line(format string, args ...any) {
	if p == nil || p.out == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.live {
		fmt.Fprint(p.out, "\r\033[K")
	}
	fmt.Fprintf(p.out, format+"\n", args...)
}

// Step begins step n of m (0 of 0: not counted) and returns what to call with
// its result.
func (p *Progress) Step(what string, n, m int) func(error) {
	if p == nil || p.out == nil {
		return func(error) {}
	}
	begin := time.Now()
	count := ""
	if m > 0 {
		count = fmt.Sprintf("[%d/%d] ", n, m)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	if p.live {
		go p.tick(count+what, begin, stop, stopped)
	} else {
		close(stopped)
		if m > 0 {
			p.Line("%s%s ...", count, what)
		}
	}
	return func(err error) {
		close(stop)
		<-stopped
		mark := "ok"
		if err != nil {
			mark = "FAILED"
		}
		p.Line("%s%s: %s, %.1fs", count, what, mark, time.Since(begin).Seconds())
	}
}

func (p *Progress) tick(text string, begin time.Time, stop, stopped chan struct{}) {
	defer close(stopped)
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			p.mu.Lock()
			fmt.Fprintf(p.out, "\r\033[K%s ... %.0fs", text, time.Since(begin).Seconds())
			p.mu.Unlock()
		}
	}
}
