// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/cni"
)

// RoleRuntime is the name under which stage.Hidden knows Runtime.
const RoleRuntime = "cni-runtime"

// job is what a Runtime does once.
type job struct {
	Dir     string   `json:"dir"` // cache, and the peers' ledger
	Ours    bool     `json:"ours"`
	Pods    []string `json:"pods"` // network namespaces
	At      int      `json:"at"`   // calls at once
	Port    bool     `json:"port"` // one hostPort a pod
	Running int      `json:"running"`
}

// lent is how much memory a job takes back from the host: more than all its
// processes ever have, less than any machine is short of.
const lent = 512 << 20

// times are the latencies of a job in seconds, one a pod.
type times struct{ Add, Del []float64 }

// theirs is what Flannel's delegate amounts to, without Flannel's own process.
const theirs = `{
  "cniVersion": "1.0.0", "name": "peer", "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450,
     "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]}`

// Runtime does what a container runtime does for the pods of a job: ADD for
// each, then DEL for each. It answers with times. One pod comes and goes before,
// untimed: a runtime has been up for weeks and has loaded what it needs.
func Runtime(arg json.RawMessage, out io.Writer, _ <-chan struct{}) error {
	var j job
	if err := json.Unmarshal(arg, &j); err != nil {
		return fmt.Errorf("decode job: %w", err)
	}
	conf, err := j.config()
	if err != nil {
		return err
	}
	if err := os.Setenv("MAGPIE_CNI_SOCKET", socketOf(j.Dir)); err != nil {
		return fmt.Errorf("set socket: %w", err)
	}
	lib := libcni.NewCNIConfigWithCacheDir([]string{os.Getenv(envBin)}, filepath.Join(j.Dir, "cache"), nil)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	add := func(rt *libcni.RuntimeConf) error {
		_, err := lib.AddNetworkList(ctx, conf, rt)
		return err
	}
	del := func(rt *libcni.RuntimeConf) error { return lib.DelNetworkList(ctx, conf, rt) }
	if err := settle(); err != nil {
		return err
	}
	warm := j
	warm.Pods = j.Pods[:1]
	_, first := warm.each(add)
	_, last := warm.each(del)
	var t times
	var errs [2]error
	t.Add, errs[0] = j.each(add)
	t.Del, errs[1] = j.each(del)
	if err := errors.Join(first, last, errs[0], errs[1]); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(t)
}

// settle makes ready what is not to be measured. The runtime's own garbage is
// not collected while it times others. And a virtual machine may have lent its
// free memory to its host, which gives it back a page at a time, when it is first
// written: 0.1 to 8 ms each. All that a job will need is taken back before.
func settle() error {
	debug.SetGCPercent(-1)
	b, err := unix.Mmap(-1, 0, lent, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_POPULATE)
	if err != nil {
		return fmt.Errorf("take memory back from the host: %w", err)
	}
	return unix.Munmap(b)
}

func (j job) config() (*libcni.NetworkConfigList, error) {
	b := fmt.Appendf(nil, theirs, filepath.Join(j.Dir, "ipam"), podCIDR)
	if j.Ours {
		var err error
		if b, err = cni.Conflist(); err != nil {
			return nil, err
		}
	}
	conf, err := libcni.NetworkConfFromBytes(b)
	if err != nil {
		return nil, fmt.Errorf("read conflist: %w", err)
	}
	return conf, nil
}

// each calls f for every pod, At at once, and times it.
func (j job) each(f func(*libcni.RuntimeConf) error) ([]float64, error) {
	took := make([]float64, len(j.Pods))
	errs := make([]error, len(j.Pods))
	turns := make(chan struct{}, j.At)
	var wg sync.WaitGroup
	for i := range j.Pods {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			start := time.Now()
			errs[i] = f(j.pod(i))
			took[i] = time.Since(start).Seconds()
		})
	}
	wg.Wait()
	return took, errors.Join(errs...)
}

func (j job) pod(i int) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{
		ContainerID: fmt.Sprintf("bench-%d-%d", j.Running, i), NetNS: j.Pods[i], IfName: "eth0",
		Args: [][2]string{{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "bench"}, {"K8S_POD_NAME", fmt.Sprint("pod-", i)}},
	}
	if j.Port {
		rt.CapabilityArgs = map[string]any{"portMappings": []map[string]any{
			{"hostPort": 20000 + i, "containerPort": 80, "protocol": "tcp"},
		}}
	}
	return rt
}
