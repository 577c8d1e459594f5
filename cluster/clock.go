// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// clockTolerance is how far a clock may be from the API server's before it is
// wrong. An answer's date is up to a second old when it is written, and then
// travels.
const clockTolerance = time.Minute

// clock knows by how much this machine's clock is off, because every answer of
// the API server has a date. It asks nothing itself.
//
// Certificates of the tunnel last a day, and clocks of shops are sometimes
// wrong by more. Kubernetes does not mind, and nor do we: what is valid is
// judged by the time of the API server, which we must trust anyway, as far as
// it has been heard.
type clock struct {
	local func() time.Time
	log   *slog.Logger

	mu   sync.Mutex
	at   time.Time // when the last answer came, by the local clock
	date time.Time // its date; zero before the first
	said bool      // that the local clock is wrong
}

// on returns a copy of cfg whose answers this clock reads.
func (c *clock) on(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return dated{c, next} })
	return cfg
}

// off is how far the local clock is ahead, negative if it is behind; 0 within
// the tolerance, and as long as nobody has told.
func (c *clock) off() time.Duration { return c.offAt(c.local()) }

func (c *clock) offAt(here time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offLocked(here)
}

func (c *clock) offLocked(here time.Time) time.Duration {
	if c.date.IsZero() {
		return 0
	}
	// The monotonic clock measures the time since: whoever sets the other one
	// right meanwhile has set it right.
	there := c.date.Add(here.Sub(c.at))
	if off := here.Sub(there); off.Abs() > clockTolerance {
		return off
	}
	return 0
}

// now is the local clock where that is right, else the time of the API server.
func (c *clock) now() time.Time {
	here := c.local()
	return here.Add(-c.offAt(here))
}

// read takes the date of an answer.
func (c *clock) read(answer *http.Response) {
	date, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.date = c.local(), date
	switch off := c.offLocked(c.at); {
	case off != 0 && !c.said:
		c.log.Warn("this machine's clock is wrong: the tunnel goes by the API server's", "ahead", off.Round(time.Second))
	case off == 0 && c.said:
		c.log.Info("this machine's clock is right again")
	}
	c.said = c.offLocked(c.at) != 0
}

// dated is a transport whose answers a clock reads.
type dated struct {
	clock *clock
	next  http.RoundTripper
}

// RoundTrip is part of http.RoundTripper.
func (d dated) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := d.next.RoundTrip(r)
	if err == nil {
		d.clock.read(answer)
	}
	return answer, err
}
