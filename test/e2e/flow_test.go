// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// flowRole makes this test program one end of a flow instead of running tests:
// "serve" or "ask". It is started so inside a pod's namespace.
const flowRole = "MAGPIE_E2E_FLOW"

const (
	flowPort = 7777
	flowBeat = 20 * time.Millisecond // between two bytes
)

// flow is one end of a TCP connection that carries one byte a beat and back.
// ask prints the longest gap between two answers in milliseconds. Two more roles
// are in caller_test.go.
func flow(role, addr string) int {
	does := map[string]func(string) error{"serve": serve, "ask": ask, roleAnswers: printAnswers, roleBeats: printBeats}
	err := does[role](addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func serve(addr string) error {
	l, err := net.Listen("tcp", addr) //nolint:noctx // ends with the process
	if err != nil {
		return err
	}
	time.AfterFunc(3*time.Minute, func() { l.Close() }) // stops by itself
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go io.Copy(c, c) //nolint:errcheck // the caller sees it
	}
}

// ask talks until its standard input ends, for two minutes at most.
func ask(addr string) error {
	c, err := net.DialTimeout("tcp", addr, 10*time.Second) //nolint:noctx // bounded
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(stop) }() //nolint:errcheck // its end is the signal
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	var longest time.Duration
	last, one := time.Now(), make([]byte, 1)
	for {
		select {
		case <-stop:
			_, err := fmt.Fprintln(os.Stdout, longest.Milliseconds())
			return err
		case <-time.After(flowBeat):
		}
		if _, err := c.Write(one); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, one); err != nil {
			return err
		}
		longest = max(longest, time.Since(last))
		last = time.Now()
	}
}

// flowProgram is where a machine of the lab, which has a root of its own, gets
// this test program.
const flowProgram = "/run/e2e-flow"

// programID tells builds of this test program apart: a lab that goes on running
// may have an older one.
var programID = sync.OnceValue(func() string {
	text, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
})

// bring copies this test program to a machine. A reboot takes it away again.
func bring(t *testing.T, node string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	cmd := command(t.Context(), labVerb("shell", node, "/bin/sh", "-c",
		"test \"$(cat "+flowProgram+".id)\" = "+programID()+" || { cat > "+flowProgram+".new && chmod +x "+flowProgram+".new && mv "+flowProgram+".new "+flowProgram+
			" && echo "+programID()+" > "+flowProgram+".id; }")...)
	cmd.Stdin = self
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("bring the flow program to %s: %v\n%s", node, err, out)
	}
}

// gapWhile opens a TCP connection from one pod to another, does f, and returns
// the longest time the connection stood still. A connection that breaks fails
// the test.
func gapWhile(t *testing.T, from, to pod, f func()) time.Duration {
	t.Helper()
	addr := net.JoinHostPort(to.ip, strconv.Itoa(flowPort))
	line := func(p pod, role string) []string {
		return labVerb("shell", p.node, "/usr/bin/env", flowRole+"="+role,
			"/usr/bin/nsenter", "--net=/run/netns/"+p.ns, flowProgram, addr)
	}
	bring(t, from.node)
	bring(t, to.node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	serving := command(ctx, line(to, "serve")...)
	if err := serving.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); serving.Wait() }() //nolint:errcheck // it was told to stop
	time.Sleep(time.Second)
	asking := command(ctx, line(from, "ask")...)
	stdin, err := asking.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	asking.Stdout, asking.Stderr = &out, &errs
	if err := asking.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	f()
	time.Sleep(time.Second)
	stdin.Close()
	if err := asking.Wait(); err != nil {
		t.Fatalf("the connection broke: %v\n%s", err, errs.String())
	}
	ms, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatalf("no result: %q", out.String())
	}
	return time.Duration(ms) * time.Millisecond
}
