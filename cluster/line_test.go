// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// cable is the way of one process to the API server, with a switch. Pulled, it
// refuses; muted, it swallows every byte as a firewall does.
type cable struct {
	mu     sync.Mutex
	pulled bool
	muted  chan struct{} // closed when sound comes back; nil while there is some
	conns  []net.Conn
}

func (c *cable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	pulled, muted := c.pulled, c.muted
	c.mu.Unlock()
	if pulled {
		return nil, errors.New("the cable is pulled")
	}
	if muted != nil {
		select {
		case <-muted:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Second): // sooner than a kernel gives up
			return nil, errors.New("dial: i/o timeout")
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns = append(c.conns, conn)
	return &muffled{conn, c}, nil
}

func (c *cable) pull(pulled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = pulled
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cable) mute(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if on {
		c.muted = make(chan struct{})
		return
	}
	close(c.muted)
	c.muted = nil
}

// wait returns once bytes pass.
func (c *cable) wait() {
	c.mu.Lock()
	muted := c.muted
	c.mu.Unlock()
	if muted != nil {
		<-muted
	}
}

type muffled struct {
	net.Conn
	cable *cable
}

func (m *muffled) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.cable.wait()
	return n, err
}

func (m *muffled) Write(b []byte) (int, error) {
	m.cable.mu.Lock()
	muted := m.cable.muted != nil
	m.cable.mu.Unlock()
	if muted {
		return len(b), nil
	}
	return m.Conn.Write(b)
}

// TestLostWhileRunning: an agent that has synced notices that the API server
// is gone although it has nothing to ask, wakes whoever listens, keeps what it
// knows, and notices that the server is back.
func TestLostWhileRunning(t *testing.T) {
	empty(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1") // client-go's default is 30
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")      // and 15
	var line cable
	cfg := rest.CopyConfig(server.Config)
	cfg.Dial = line.dial
	a := agentDoor(t, cfg)
	synced(t, a)
	if since, err := a.Lost(); !since.IsZero() || err != nil {
		t.Fatalf("lost since %s (%v) although it has just synced", since, err)
	}
	for _, c := range []struct {
		name  string
		fault func(on bool)
	}{{"silent", line.mute}, {"refused", line.pull}} {
		t.Run(c.name, func(t *testing.T) {
			wake := a.Wake()
			begin := time.Now()
			c.fault(true)
			eventually(t, 20*time.Second, func() error {
				if since, err := a.Lost(); since.IsZero() || since.Before(begin) || err == nil {
					return fmt.Errorf("lost since %s: %w", since, err)
				}
				return nil
			})
			t.Logf("noticed after %s", time.Since(begin).Round(time.Millisecond))
			rung(t, wake)
			if o, err := a.Objects(); err != nil || o.Node.Name != "shop-1" {
				t.Errorf("forgot its node: %v", err)
			}
			c.fault(false)
			eventually(t, 60*time.Second, func() error {
				if since, err := a.Lost(); !since.IsZero() || err != nil {
					return fmt.Errorf("still lost since %s: %w", since, err)
				}
				return nil
			})
			rung(t, wake)
		})
	}
}

func rung(t *testing.T, wake <-chan struct{}) {
	t.Helper()
	select {
	case <-wake:
	case <-time.After(5 * time.Second):
		t.Error("nobody was woken")
	}
}
