// SPDX-License-Identifier: Apache-2.0

//go:build bench

package e2e_test

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// firstPacket is the longest that may pass between a Node's creation and the
// first packet between a pod on it and a pod of another domain. Most of it is
// the kubelet, which starts the agent's container.
const firstPacket = time.Minute

// TestNodeCreatedToFirstPacket removes a Node and lets its kubelet register it
// anew. `make bench` prints the time.
func TestNodeCreatedToFirstPacket(t *testing.T) {
	const node = "c-1"
	far := newPod(t, "cloud-1")
	bring(t, far.node)
	bring(t, node)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	serving := command(ctx, labVerb("shell", far.node, "/usr/bin/env", flowRole+"=serve",
		"/usr/bin/nsenter", "--net=/run/netns/"+far.ns, flowProgram, fmt.Sprintf("%s:%d", far.ip, flowPort))...)
	if err := serving.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cancel(); serving.Wait() }() //nolint:errcheck // it was told to stop
	kubectl(t, "delete", "node", node)
	on(t, node, "systemctl restart kubelet")
	within(t, time.Minute, func() error {
		if out := kubectl(t, "get", "node", node, "--ignore-not-found", "-o", "name"); out == "" {
			return fmt.Errorf("%s has not registered", node)
		}
		return nil
	})
	created := time.Now()
	p := pod{node: node, ns: "e2efirst"}
	t.Cleanup(func() { on(t, node, p.call("DEL")+"; ip netns del "+p.ns) })
	script := fmt.Sprintf(`ip netns add %[1]s
for i in $(seq 1 600); do
  %[2]s >/dev/null && timeout 1 nsenter --net=/run/netns/%[1]s env `+flowRole+`=ask %[3]s %[4]s </dev/null && exit 0
  %[5]s >/dev/null
  sleep 0.05
done
exit 1`, p.ns, p.call("ADD"), flowProgram, fmt.Sprintf("%s:%d", far.ip, flowPort), p.call("DEL"))
	on(t, node, script)
	took := time.Since(created)
	t.Logf("Node created to first packet across domains: %.1f s", took.Seconds())
	if took > firstPacket {
		t.Errorf("took %v", took)
	}
	within(t, time.Minute, func() error { return ready(t, node) })
}
