// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/magpie-edge/magpie/test/lab/world"
)

// join makes every machine a node, as an administrator does: print the join
// script of its pool, run it on the machine as root. A machine whose kubelet
// runs has joined.
func (u *upping) join(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range workers() {
		g.Go(func() error {
			if _, err := u.Exec(ctx, h.Name, "systemctl", "is-active", "--quiet", "kubelet"); err == nil {
				return nil
			}
			if err := u.joinNode(ctx, h); err != nil {
				return fmt.Errorf("join %s (see %s): %w", h.Name, u.LogFile(h.Name, "join"), err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (l *Lab) joinNode(ctx context.Context, h world.Host) error {
	script, err := l.joinScript(ctx, h)
	if err != nil {
		return err
	}
	cmd, err := l.Command(ctx, h.Name, "/bin/bash", "-s")
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(script), &out, &out
	err = cmd.Run()
	if werr := write(l.LogFile(h.Name, "join"), out.String(), 0o644); werr != nil {
		return werr
	}
	if err != nil {
		text := strings.TrimSpace(out.String())
		return fmt.Errorf("run script: %w: %s", err, text[max(0, len(text)-600):])
	}
	return nil
}

// joinScript is the script that magpiectl prints for the machine's pool.
func (l *Lab) joinScript(ctx context.Context, h world.Host) ([]byte, error) {
	if l.opt.Bare || !l.hasJoin(ctx) {
		return l.bareJoinScript(ctx, h)
	}
	out, err := output(l.Host(ctx, l.product("magpiectl"), "join", "--kubeconfig", l.Kubeconfig(),
		"--pool", poolOf(h), "--type", h.Type, "--api-server", apiServer()))
	if err != nil {
		return nil, fmt.Errorf("print join script: %w", err)
	}
	return out, nil
}

func (l *Lab) waitRegistered(ctx context.Context, name string) error {
	err := poll(ctx, 60*time.Second, func() error {
		_, err := l.get(ctx, "/api/v1/nodes/"+name)
		return err
	})
	if err != nil {
		return fmt.Errorf("node %s does not register (see %s): %w", name, l.LogFile(name, "kubelet"), err)
	}
	return nil
}

// waitNodes waits until every node is Ready; without the product, registered.
func (u *upping) waitNodes(ctx context.Context) error {
	for _, h := range workers() {
		if err := u.waitRegistered(ctx, h.Name); err != nil {
			return err
		}
	}
	if !u.hasChart() {
		return nil
	}
	for _, w := range []string{"daemonset/magpie-agent", "deployment/magpie-manager"} {
		if _, err := u.Kubectl(ctx, "-n", "kube-system", "rollout", "status", w, "--timeout=180s"); err != nil {
			return fmt.Errorf("%w (see `magpie-lab kubectl -n kube-system get pods` and `... logs`)", err)
		}
	}
	return poll(ctx, 3*time.Minute, func() error {
		nodes, err := u.Nodes(ctx)
		if err != nil {
			return err
		}
		var errs []error
		for _, n := range nodes {
			if !n.Ready {
				errs = append(errs, fmt.Errorf("%s is not Ready: %s (see %s)", n.Name, n.Reason, u.LogFile(n.Name, "kubelet")))
			}
		}
		return errors.Join(errs...)
	})
}

// waitDNS waits for the cluster's DNS: both replicas in the cloud, and one on
// every edge node. It counts them itself: `rollout status` fails at once if the
// nodes came later than it likes.
func (u *upping) waitDNS(ctx context.Context) error {
	if !u.hasChart() {
		return nil
	}
	edge := 0
	for _, h := range workers() {
		if h.Type == "edge" {
			edge++
		}
	}
	err := poll(ctx, 2*time.Minute, func() error {
		return errors.Join(u.readyPods(ctx, "deployments", 2), u.readyPods(ctx, "daemonsets", edge))
	})
	if err != nil {
		return fmt.Errorf("cluster DNS (see `magpie-lab kubectl -n kube-system describe pods -l k8s-app=kube-dns`): %w", err)
	}
	return nil
}

// readyPods is an error if a workload of CoreDNS has not so many.
func (l *Lab) readyPods(ctx context.Context, resource string, want int) error {
	body, err := l.get(ctx, "/apis/apps/v1/namespaces/kube-system/"+resource+"/coredns")
	if err != nil {
		return err
	}
	var w struct {
		Status struct{ ReadyReplicas, NumberReady int }
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return fmt.Errorf("decode %s: %w", resource, err)
	}
	if n := w.Status.ReadyReplicas + w.Status.NumberReady; n < want {
		return fmt.Errorf("%d of %d pods of %s coredns are ready", n, want, resource)
	}
	return nil
}
