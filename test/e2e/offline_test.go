// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// agentHealth is where an agent says how it is.
const agentHealth = "http://127.0.0.1:10291"

// restartAgent kills the agent's process on a node and waits until another
// one serves.
func restartAgent(t *testing.T, node string) {
	t.Helper()
	old := agentPID(t, node)
	on(t, node, "kill -9 "+old)
	within(t, time.Minute, func() error {
		out := on(t, node, "pgrep -x magpie-agent || true")
		if pid := strings.TrimSpace(out); pid == "" || pid == old {
			return errors.New("the kubelet has not started another agent")
		}
		return ready(t, node)
	})
}

func agentPID(t *testing.T, node string) string {
	t.Helper()
	return strings.TrimSpace(on(t, node, "pgrep -x magpie-agent"))
}

// ready asks the node's agent whether everything is as planned.
func ready(t *testing.T, node string) error {
	t.Helper()
	out, err := try(context.Background(), labVerb("shell", node, "/bin/sh", "-c", "busybox wget -qO- "+agentHealth+"/readyz")...)
	if err != nil || strings.TrimSpace(out) != "ok" {
		return fmt.Errorf("agent of %s is not ready: %s %w", node, out, err)
	}
	return nil
}

// TestOffline takes the API server away and then restarts an edge's agent: its
// connections go on, and pods can still be started and stopped.
func TestOffline(t *testing.T) {
	edge, cloud := newPod(t, "b-1"), newPod(t, "cloud-2")
	breaks(t, "stop-apiserver")
	gap := gapWhile(t, edge, cloud, func() {
		restartAgent(t, "b-1")
		started := newPod(t, "b-1")
		gapWhile(t, started, cloud, func() {})
	})
	t.Logf("longest gap: %v", gap)
}

// TestUnchangedFleetWritesNothing compares the counters of writes over a time
// in which nothing happens.
func TestUnchangedFleetWritesNothing(t *testing.T) {
	settle(t)
	before := written(t)
	time.Sleep(35 * time.Second) // one full round of every loop
	for n, after := range written(t) {
		if after != before[n] {
			t.Errorf("%s wrote although nothing changed:\n%s%s", n, before[n], after)
		}
	}
}

// TestRebootedNodeComesBack ends a machine with everything on it and starts it
// again: the addresses its pods had are free again, and a new pod is connected.
func TestRebootedNodeComesBack(t *testing.T) {
	const node = "c-1"
	old := connect(t, node) // its end is the reboot
	breaks(t, "reboot", node)
	within(t, 2*time.Minute, func() error { return ready(t, node) })
	if held := on(t, node, "ip route show proto 202"); strings.Contains(held, old.ip+" ") {
		t.Errorf("a pod that went with the reboot still holds %s:\n%s", old.ip, held)
	}
	gapWhile(t, newPod(t, node), newPod(t, "cloud-1"), func() {})
}
