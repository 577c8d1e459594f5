// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// verbRelay is the hidden verb of the process that lets the host reach the API
// server: a listener on 127.0.0.1 whose connections go on inside the control
// plane's network. It keeps a record like a machine does.
const (
	verbRelay = "relay"
	relayName = "relay"
)

// startRelay starts the relay unless it runs, and returns its port.
func (l *Lab) startRelay(ctx context.Context, run string) (string, error) {
	portFile := filepath.Join(l.dir, "relay.port")
	if _, alive := machine.ReadRecord(l.dir, relayName); !alive {
		_ = os.Remove(portFile)
		if err := os.MkdirAll(filepath.Join(l.dir, "logs", "host"), 0o755); err != nil {
			return "", fmt.Errorf("make log folder: %w", err)
		}
		log, err := os.OpenFile(filepath.Join(l.dir, "logs", "host", "relay.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return "", fmt.Errorf("open log: %w", err)
		}
		defer log.Close()
		// It outlives `up`, and so `up`'s context.
		cmd := exec.CommandContext(context.WithoutCancel(ctx), l.exe(), verbRelay, l.dir, run)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := cmd.Start(); err != nil {
			return "", fmt.Errorf("start relay: %w", err)
		}
		go func() { _ = cmd.Wait() }()
	}
	var port string
	err := poll(ctx, 10*time.Second, func() error {
		b, err := os.ReadFile(portFile)
		port = strings.TrimSpace(string(b))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("relay does not come up (see %s/logs/host/relay.log): %w", l.dir, err)
	}
	return port, nil
}

// relay is the relay's process.
func relay(dir, run string) error {
	record, err := machine.Enlist(dir, relayName, run)
	if err != nil {
		return err
	}
	defer record.Close()
	lis, err := listenAgain(filepath.Join(dir, "relay.last"))
	if err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(lis.Addr().String())
	for _, f := range []string{"relay.last", "relay.port"} {
		if err := write(filepath.Join(dir, f), port, 0o644); err != nil {
			return err
		}
	}
	for {
		conn, err := lis.Accept()
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		go func() {
			defer conn.Close()
			up, err := dialInside(dir, world.ControlPlane, "127.0.0.1:6443")
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			defer up.Close()
			join(conn, up)
		}()
	}
}

// listenAgain takes the port of last time if it is free, so that a kubeconfig
// in somebody's shell stays good.
func listenAgain(file string) (net.Listener, error) {
	var lc net.ListenConfig
	ctx := context.Background()
	if b, err := os.ReadFile(file); err == nil {
		if lis, err := lc.Listen(ctx, "tcp", "127.0.0.1:"+string(b)); err == nil {
			return lis, nil
		}
	}
	lis, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return lis, nil
}

// dialInside dials from within a machine's network namespace. A socket stays
// in the namespace it was made in, so only this thread goes there and back.
func dialInside(dir, name, addr string) (net.Conn, error) {
	path, err := machine.NetNS(dir, name)
	if err != nil {
		return nil, err
	}
	there, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network of %s: %w", name, err)
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open own network: %w", err)
	}
	defer here.Close()
	if err := netns.Set(there); err != nil {
		return nil, fmt.Errorf("enter network of %s: %w", name, err)
	}
	conn, dialErr := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(context.Background(), "tcp", addr)
	if err := netns.Set(here); err != nil {
		return nil, fmt.Errorf("leave network of %s: %w", name, err) // the thread dies with the goroutine
	}
	runtime.UnlockOSThread()
	return conn, dialErr
}

// join copies both ways and passes on half-closes.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, p := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(p[0], p[1])
			if t, ok := p[0].(*net.TCPConn); ok {
				_ = t.CloseWrite()
			}
		})
	}
	wg.Wait()
}
