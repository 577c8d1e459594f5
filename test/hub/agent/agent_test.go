// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/rewire"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// fleetYAML is a cluster of two pools, and a headless Service with an endpoint in
// each that shall stay in its pool.
const fleetYAML = `
apiVersion: v1
kind: Node
metadata: {name: a-1, labels: {apps.openyurt.io/nodepool: shop-a}}
spec: {podCIDR: 10.42.1.0/24, podCIDRs: [10.42.1.0/24]}
---
apiVersion: net.magpie.dev/v1alpha1
kind: DomainSlice
metadata: {name: gw-shop-a-0, labels: {net.magpie.dev/domain: gw-shop-a}}
spec:
  domain: gw-shop-a
  nodes:
  - {name: a-1, addresses: [192.168.1.11], podCIDRs: [10.42.1.0/24], pool: shop-a}
  - {name: b-1, addresses: [192.168.1.12], podCIDRs: [10.42.2.0/24], pool: shop-b}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, annotations: {openyurt.io/topologyKeys: openyurt.io/nodepool}}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: odd, namespace: default, annotations: {openyurt.io/topologyKeys: example.com/continent}}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 80, protocol: TCP}]
endpoints:
- {addresses: [10.42.1.7], nodeName: a-1, conditions: {ready: true}}
- {addresses: [10.42.2.7], nodeName: b-1, conditions: {ready: true}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader, namespace: kube-system}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: nobody, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [services, endpoints, namespaces, pods, nodes], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: kube-system}]
`

// TestAgentServesTheHub: the agent with the chart's rights makes the address
// and the files, and by them a process of the node, a pod and CoreDNS read what
// this node shall see, also after all began anew without the API server; nobody
// from elsewhere does; cleanup leaves nothing.
func TestAgentServesTheHub(t *testing.T) {
	if err := server.InstallCRDs(t.Context()); err != nil {
		t.Fatal(err)
	}
	rights := apiserver.ChartWith(t, "kube-system", []string{"hub.enabled=true"}, "agent/rbac.yaml")
	for _, text := range []string{rights, fleetYAML} {
		if err := server.ApplyYAML(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	a := newAgent(t)
	a.start(t)
	until(t, "the files are there", func() bool {
		_, err := os.Stat(filepath.Join(a.hub, client.FileCoreDNS))
		return err == nil
	})
	dir := a.files(t, token(t, "reader"))
	near, far := pod(t, "near", "10.42.1.7"), pod(t, "far", "10.42.2.7")

	t.Run("host", func(t *testing.T) { pinned(t, through(t, filepath.Join(dir, client.FileHost), "")) })
	t.Run("pod", func(t *testing.T) { pinned(t, through(t, filepath.Join(dir, client.FilePod), near)) })
	t.Run("repair", func(t *testing.T) {
		sandbox.Run(t, "ip link del "+api.DeviceHub)
		until(t, "the address is back", func() bool {
			d, err := net.InterfaceByName(api.DeviceHub)
			if err != nil {
				return false
			}
			addrs, err := d.Addrs()
			return err == nil && slices.ContainsFunc(addrs, func(a net.Addr) bool { return a.String() == api.HubAddress+"/32" })
		})
		pinned(t, through(t, filepath.Join(dir, client.FilePod), near))
	})
	t.Run("stranger", func(t *testing.T) {
		_, err := sandbox.At(far, func() (int, error) {
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(api.HubAddress, "10298"), 10*time.Second) //nolint:noctx // in another thread
			if err != nil {
				return 0, err
			}
			defer conn.Close()
			return conn.Read(make([]byte, 1))
		})
		if err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("who is not on the node is not hung up on: %v", err)
		}
	})
	t.Run("no right", func(t *testing.T) {
		c := through(t, filepath.Join(a.files(t, token(t, "nobody")), client.FileHost), "")
		if list, err := c.CoreV1().Services("").List(t.Context(), metav1.ListOptions{}); err == nil {
			t.Errorf("an account without rights is shown %d Services", len(list.Items))
		}
	})
	t.Run("event", warned)
	t.Run("coredns", func(t *testing.T) { coreDNS(t, dir, near) })
	// Agent and CoreDNS both begin anew, and the cloud is gone.
	a.stop()
	a.api = "127.0.0.1:1"
	a.start(t)
	t.Run("alone", func(t *testing.T) { coreDNS(t, dir, near) })

	a.stop()
	if out, err := a.command(t.Context(), t, "cleanup").CombinedOutput(); err != nil {
		t.Fatalf("cleanup: %v\n%s", err, out)
	}
	if _, err := net.InterfaceByName(api.DeviceHub); err == nil {
		t.Error("cleanup leaves the device")
	}
	if left, err := os.ReadDir(a.hub); err != nil || len(left) > 0 {
		t.Errorf("cleanup leaves %v, %v", left, err)
	}
}

// pinned waits for what this node shall see of the Service.
func pinned(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	var last error
	until(t, "only the own pool's endpoint is seen", func() bool {
		var s *discoveryv1.EndpointSliceList
		s, last = c.DiscoveryV1().EndpointSlices("default").List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if last != nil {
			t.Log(last)
			return false
		}
		if len(s.Items) != 1 {
			return false
		}
		if e := s.Items[0].Endpoints; len(e) != 1 || e[0].Addresses[0] != "10.42.1.7" {
			t.Fatalf("this node is shown %+v", e)
		}
		return true
	})
	if v, err := c.ServerVersion(); err != nil || v.GitVersion == "" {
		t.Errorf("what is not the hub's does not come from the API server: %v", err)
	}
}

// warned waits for the Event on the Service that says nothing known.
func warned(t *testing.T) {
	until(t, "there is an Event", func() bool {
		list, err := admin(t).CoreV1().Events("default").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Name == "odd" && e.Reason == "UnknownTopology" && strings.Contains(e.Message, "example.com/continent") {
				return true
			}
		}
		return false
	})
}

// coreDNS runs the real one in the pod, with a Corefile as magpiectl changes it.
func coreDNS(t *testing.T, dir, space string) {
	t.Helper()
	corefile, err := rewire.CorefileOn("cluster.local:1053 {\n    errors\n    kubernetes cluster.local\n    reload 2s\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "Corefile")
	write(t, path, strings.ReplaceAll(corefile, client.Mount, dir))
	var log strings.Builder
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", filepath.Base(space), program(t, "coredns-v*"), "-conf", path)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("CoreDNS:\n%s", log.String())
		}
	}()
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return sandbox.At(space, func() (net.Conn, error) { return net.DialTimeout("udp", "127.0.0.1:1053", time.Second) }) //nolint:noctx // in another thread
	}}
	until(t, "CoreDNS answers", func() bool {
		addrs, err := r.LookupHost(t.Context(), "web.default.svc.cluster.local.")
		if err != nil {
			return false
		}
		if !slices.Equal(addrs, []string{"10.42.1.7"}) {
			t.Fatalf("the headless Service is at %v", addrs)
		}
		return true
	})
}
