// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// workers are the lab's nodes.
func workers() []string { return []string{"cloud-1", "cloud-2", "a-1", "a-2", "b-1", "c-1"} }

// settle waits until what earlier tests did has had its effects: the API server
// answers, every node is Ready and has its kube-proxy and CoreDNS, every domain
// has all the active gateways it can have, every agent has applied its plan,
// `magpiectl status` finds nothing wrong, and then nobody has written anything
// for ten seconds, which is as long as a kubelet takes to say that it is Ready.
func settle(t *testing.T) {
	t.Helper()
	const still = 10 * time.Second
	var last map[string]string
	var since time.Time
	within(t, 2*time.Minute, func() error {
		if err := healthy(t); err != nil {
			last = nil
			return err
		}
		if now := written(t); !maps.Equal(now, last) {
			last, since = now, time.Now()
		}
		if time.Since(since) < still {
			time.Sleep(time.Second)
			return fmt.Errorf("the agents wrote something within the last %v", still)
		}
		return nil
	})
}

// healthy asks the API server and every agent.
func healthy(t *testing.T) error {
	t.Helper()
	if _, err := tryKubectl(t, "get", "--raw", "/readyz"); err != nil {
		return err
	}
	out, err := tryKubectl(t, "get", "nodes,gateways.raven.openyurt.io", "-o", "json")
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct{ Endpoints []struct{ Type string } }
			Status   struct {
				Conditions      []struct{ Type, Status string }
				ActiveEndpoints []struct{ Type string }
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	for _, it := range list.Items {
		ok := it.Kind == "Gateway" && len(it.Status.ActiveEndpoints) > 0 &&
			(it.Metadata.Name != "gw-cloud" || len(it.Status.ActiveEndpoints) == len(it.Spec.Endpoints))
		for _, c := range it.Status.Conditions {
			ok = ok || it.Kind == "Node" && c.Type == "Ready" && c.Status == "True"
		}
		if !ok {
			return fmt.Errorf("%s %s is not ready", it.Kind, it.Metadata.Name)
		}
	}
	for _, n := range workers() {
		if err := ready(t, n); err != nil {
			return err
		}
	}
	for _, w := range []string{"kube-proxy", "coredns"} {
		out, err := tryKubectl(t, "-n", "kube-system", "get", "daemonset", w, "-o", "jsonpath={.status.numberReady} of {.status.desiredNumberScheduled}")
		if have, want, _ := strings.Cut(out, " of "); err != nil || have != want {
			return fmt.Errorf("pods of %s that are ready: %s %w", w, out, err)
		}
	}
	_, err = try(context.Background(), ctlVerb(t, "status")...)
	return err
}

// written are the agents' counters of writes to their kernels, by node.
func written(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, n := range workers() {
		out[n] = on(t, n, "busybox wget -qO- "+agentHealth+`/metrics | grep -E '^magpie_loop_steps_total\{loop="(vxlan|mesh|cni)"\}'`)
	}
	return out
}
