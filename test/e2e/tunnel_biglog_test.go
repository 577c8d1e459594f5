// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestKubectlBigLog reads a log of a gigabyte from a shop, with a reader that
// stops for a while half-way: every byte arrives, and what carries them does not
// keep them. The kubelet sends each line by itself, so the number of lines is what
// takes time. Source: flushwriter in k8s.io/kubernetes pkg/kubelet/server.
func TestKubectlBigLog(t *testing.T) {
	const (
		node, pod = "b-1", "e2e-big"
		lines     = 1_000_000
		filler    = 990
		grows     = 100 << 20 // bytes that a gateway or an agent may take for it, most
	)
	apply(t, strings.NewReplacer("NODE", node, "IMAGE", image(t), "LINES", fmt.Sprint(lines), "FILLER", fmt.Sprint(filler)).Replace(`apiVersion: v1
kind: Pod
metadata: {name: e2e-big}
spec:
  nodeName: NODE
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
  - {name: big, image: IMAGE, imagePullPolicy: Never, command: [awk, 'BEGIN { f = sprintf("%FILLERs", ""); for (i = 1; i <= LINES; i++) printf "%08d %s\n", i, f }']}
`))
	t.Cleanup(func() { kubectl(t, "delete", "pod", pod, "--now") })
	begin := time.Now()
	kubectl(t, "wait", "pod/"+pod, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
	t.Logf("written in %.1f s", time.Since(begin).Seconds())

	watch := startWatch(t, map[string]string{node: "magpie-agent", "cloud-1": "magpie-gateway", "cloud-2": "magpie-gateway"})
	got := &reader{hash: sha256.New(), pauseAt: lines * 1000 / 2, pause: 5 * time.Second}
	cmd := command(t.Context(), append(kubectlPath(t), "logs", pod)...)
	cmd.Stdout = got
	begin = time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	took := time.Since(begin) - got.pause
	t.Logf("%d MB in %.1f s, %.0f MB/s, without the pause", got.bytes/1e6, took.Seconds(), float64(got.bytes)/1e6/took.Seconds())
	for who, grown := range watch() {
		t.Logf("%s grew by %d MiB", who, grown>>20)
		if grown > grows {
			t.Errorf("%s grew by %d MiB, at most %d are allowed", who, grown>>20, grows>>20)
		}
	}
	want := sha256.New()
	for i := range lines {
		fmt.Fprintf(want, "%08d %*s\n", i+1, filler, "")
	}
	if fmt.Sprintf("%x", got.hash.Sum(nil)) != fmt.Sprintf("%x", want.Sum(nil)) {
		t.Errorf("%d bytes, and not those that were written: %d", got.bytes, lines*1000)
	}
}

// reader is somebody who reads a log and stops for a while.
type reader struct {
	hash    hash.Hash
	bytes   int64
	pauseAt int64
	pause   time.Duration
	paused  bool
}

func (r *reader) Write(p []byte) (int, error) {
	r.bytes += int64(len(p))
	if !r.paused && r.bytes >= r.pauseAt {
		r.paused = true
		time.Sleep(r.pause)
	}
	return r.hash.Write(p)
}

// startWatch follows the resident memory of one process a machine; what it
// returns stops that and says by how many bytes each has grown at most.
func startWatch(t *testing.T, processes map[string]string) func() map[string]int64 {
	t.Helper()
	type followed struct{ first, most atomic.Int64 }
	all := map[string]*followed{}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	for node, process := range processes {
		f := &followed{}
		all[process+" on "+node] = f
		first, err := resident(ctx, node, process)
		if err != nil {
			t.Fatal(err)
		}
		f.first.Store(first)
		go func() {
			for ctx.Err() == nil {
				if now, err := resident(ctx, node, process); err == nil && now > f.most.Load() {
					f.most.Store(now)
				}
				time.Sleep(300 * time.Millisecond)
			}
		}()
	}
	return func() map[string]int64 {
		cancel()
		out := map[string]int64{}
		for who, f := range all {
			if f.most.Load() == 0 {
				t.Errorf("%s was not seen", who)
			}
			out[who] = f.most.Load() - f.first.Load()
		}
		return out
	}
}

// resident is how many bytes of memory a process on a machine holds.
func resident(ctx context.Context, node, process string) (int64, error) {
	out, err := try(ctx, labVerb("shell", node, "/bin/sh", "-c", "awk '/^VmRSS/ {print $2}' /proc/$(pgrep -xo "+process+")/status")...)
	if err != nil {
		return 0, err
	}
	kib, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	return kib << 10, err
}
