// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/test/bench/result"
)

// Options say how long to measure.
type Options struct {
	Rounds int
}

// throughHub and pastHub are the numbers of the two nodes.
const (
	throughHub = 0
	pastHub    = 1
)

// work is where files are: in the private /run, so nothing stays.
const work = "/run/magpie-bench-hub"

// world is a cluster with the two nodes.
type world struct {
	server    *apiserver.Server
	client    *kubernetes.Clientset
	control   *host // of the manager
	near, far *host // through the hub, past it
}

// Run measures everything. It must run behind stage.Enter.
func Run(ctx context.Context, o Options) (rows []result.Row, err error) {
	server, err := apiserver.Start()
	if err != nil {
		return nil, fmt.Errorf("start api server: %w", err)
	}
	defer server.Stop()
	w := &world{server: server}
	defer w.close()
	defer func() {
		if err != nil {
			err = errors.Join(err, w.logs())
		}
	}()
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name    string
		measure func(context.Context, int) ([]result.Row, error)
	}{{"endpoint", w.endpoints}, {"watched", w.watched}, {"large", w.large}} {
		begin := time.Now()
		more, err := part.measure(ctx, o.Rounds)
		fmt.Fprintf(os.Stderr, "bench hub: %s, %s\n", part.name, time.Since(begin).Round(time.Second))
		if err != nil {
			return rows, fmt.Errorf("%s: %w", part.name, err)
		}
		for i := range more {
			more[i].Bench = "hub"
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// open makes what every measurement needs: manager, both nodes, and the hub.
func (w *world) open(ctx context.Context) (err error) {
	cfg := w.server.Config
	if w.client, err = clientOf(cfg); err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(work, 0o755), writeAccount(cfg)); err != nil {
		return fmt.Errorf("make files: %w", err)
	}
	for _, h := range []struct {
		to   **host
		name string
	}{{&w.control, "control"}, {&w.near, nodeName(throughHub)}, {&w.far, nodeName(pastHub)}} {
		if *h.to, err = newHost(ctx, cfg, work, h.name); err != nil {
			return err
		}
	}
	if _, err := w.client.CoreV1().Namespaces().Create(ctx, namespaceObject(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create namespace: %w", err)
	}
	if err := createPools(ctx, w.server); err != nil {
		return err
	}
	for _, i := range []int{throughHub, pastHub} {
		if err := createNode(ctx, w.client, i); err != nil {
			return err
		}
	}
	if err := w.startManager(ctx); err != nil {
		return err
	}
	return w.near.startAgent(ctx, true)
}

func namespaceObject() *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
}

func (w *world) startManager(ctx context.Context) error {
	access, config := filepath.Join(work, "manager.kubeconfig"), filepath.Join(work, "manager.yaml")
	if err := kubeconfig(w.control.direct, access); err != nil {
		return err
	}
	text := "listen: 127.0.0.1:8080\nleaderElection: false\nnamespace: kube-system\nkubeconfig: " + access + "\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write config of the manager: %w", err)
	}
	return w.control.run(ctx, "manager", []string{ours("magpie-manager"), "run", "--config", config}, nil)
}

func (w *world) close() {
	for _, h := range []*host{w.near, w.far, w.control} {
		if h != nil {
			h.close()
		}
	}
}

// logs returns the last words of every program, as an error to join.
func (w *world) logs() error {
	files, err := filepath.Glob(work + "/*/*.log")
	if err != nil {
		return fmt.Errorf("look for logs: %w", err)
	}
	var errs []error
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			errs = append(errs, fmt.Errorf("read log: %w", err))
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		errs = append(errs, fmt.Errorf("%s ends with:\n%s", f, strings.Join(lines[max(0, len(lines)-12):], "\n")))
	}
	return errors.Join(errs...)
}
