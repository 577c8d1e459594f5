// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// connsPerSource is how many connections to the HTTP entry one address may hold
// at once. A Prometheus of 5,000 nodes has a few hundred.
const connsPerSource = 1024

// crowd closes what one address opens beyond its number of connections: whoever
// has not yet shown a token could otherwise hold as many as there are files.
type crowd struct {
	most int

	mu   sync.Mutex
	open map[netip.Addr]int
}

func newCrowd(most int) *crowd {
	return &crowd{most: cmp.Or(most, connsPerSource), open: map[netip.Addr]int{}}
}

// watch is for http.Server.ConnState. A connection that was taken over belongs
// to a caller who has the right to a stream, and counts there.
func (c *crowd) watch(conn net.Conn, state http.ConnState) {
	from := source(conn.RemoteAddr())
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		if c.open[from]++; c.open[from] > c.most {
			go func() { _ = conn.Close() }() // TLS says goodbye, which may wait
		}
	case http.StateClosed, http.StateHijacked:
		if c.open[from]--; c.open[from] <= 0 {
			delete(c.open, from)
		}
	case http.StateActive, http.StateIdle:
	}
}
