// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// atOnce is how soon a change must reach kube-proxy's rules on every node.
const atOnce = 5 * time.Second

// forgotten is how soon CoreDNS, which remembers an answer for half a minute,
// must give another one.
const forgotten = 45 * time.Second

// Values of the annotation openyurt.io/topologyKeys.
const (
	byPool = "openyurt.io/nodepool"
	byNode = "kubernetes.io/hostname"
)

// home is the server of these tests on a node, which says its name. Those away
// from the plant have a label that says so.
func home(node string) string { return "home-" + node }

func homes(nodes ...string) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, home(n))
	}
	return out
}

// site are the nodes of a node's pool.
func site(node string) []string {
	switch {
	case strings.HasPrefix(node, "cloud-"):
		return []string{"cloud-1", "cloud-2"}
	case strings.HasPrefix(node, "a-"):
		return []string{"a-1", "a-2"}
	}
	return []string{node}
}

// away are the nodes that are not at the plant.
func away() []string { return []string{"cloud-1", "cloud-2", "a-1", "a-2", "b-1"} }

// serverPod is a pod that says its name by TCP and UDP. It stays on a node that
// is cut off for longer than five minutes, as pods at the edge are made to.
func serverPod(t *testing.T, name, node, labels string) string {
	t.Helper()
	return strings.NewReplacer("NAME", name, "NODE", node, "LABELS", labels, "IMAGE", image(t)).Replace(`apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {LABELS}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  tolerations: [{operator: Exists}]
  containers:
  - name: web
    image: IMAGE
    imagePullPolicy: Never
    args: [netexec, --http-port=8080, --udp-port=8081]
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
`)
}

// prepareHomes makes one on every node until the test ends.
func prepareHomes(t *testing.T) {
	t.Helper()
	var all strings.Builder
	for _, n := range workers() {
		labels := "app: home"
		if n != "c-1" {
			labels += ", at: away"
		}
		all.WriteString(serverPod(t, home(n), n, labels))
	}
	t.Cleanup(func() { kubectl(t, "delete", "pod", "-l", "app=home", "--now") })
	apply(t, all.String())
	kubectl(t, "wait", "pod", "-l", "app=home", "--for=condition=Ready", "--timeout=60s")
}

// newService makes a Service until the test ends and returns its ClusterIP. spec
// are its fields beside the ports, annotations are "key: value".
func newService(t *testing.T, name, spec string, annotations ...string) string {
	t.Helper()
	t.Cleanup(func() { kubectl(t, "delete", "service", name) })
	apply(t, fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s, annotations: {%s}}
spec: {%s, ports: [{name: tcp, port: 80, targetPort: 8080}, {name: udp, port: 81, targetPort: 8081, protocol: UDP}]}
`, name, strings.Join(annotations, ", "), spec))
	return kubectl(t, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
}

func annotate(t *testing.T, service, text string) {
	t.Helper()
	kubectl(t, "annotate", "--overwrite", "service", service, text)
}

func topologyKeys(value string) string { return `openyurt.io/topologyKeys: "` + value + `"` }

// TestServicesStayHome is what README says of the two annotations, at every
// site, while one of the sites is cut off from the cloud for ten minutes: what
// comes between leave and back needs no plant.
func TestServicesStayHome(t *testing.T) {
	settle(t)
	prepareHomes(t)
	client := map[string]pod{}
	for _, n := range workers() {
		client[n] = newPod(t, n)
		bring(t, n)
	}
	t.Run("at every site", func(t *testing.T) { everySite(t, client) })
	plant := leave(t, client["c-1"])
	t.Run("alone", plant.alone)
	t.Run("changed", func(t *testing.T) { changed(t, client) })
	t.Run("moved", func(t *testing.T) { moved(t, client) })
	t.Run("fence", func(t *testing.T) { fence(t, client) })
	t.Run("load balancer", loadBalancer)
	t.Run("unknown", func(t *testing.T) { unknown(t, client) })
	t.Run("still alone", plant.stillAlone)
	t.Run("back", plant.back)
}

// waking is how long a kube-proxy may be blind whose hub has just been restarted,
// twice perhaps, by an earlier test: client-go waits up to 30 s, and up to twice
// that by chance, before it asks again. Source: client-go tools/cache/reflector.go.
const waking = 75 * time.Second

// everySite asks from each node through a Service of each kind: nobody but the
// site's own answers.
func everySite(t *testing.T, client map[string]pod) {
	t.Helper()
	pool := newService(t, "e2e-pool", "selector: {app: home}", topologyKeys(byPool))
	zone := newService(t, "e2e-zone", "selector: {app: home}", topologyKeys("kubernetes.io/zone"))
	node := newService(t, "e2e-node", "selector: {app: home}", topologyKeys(byNode))
	everywhere := newService(t, "e2e-everywhere", "selector: {app: home}")
	newService(t, "e2e-headless", "clusterIP: None, selector: {app: home}", topologyKeys(byPool))
	for _, n := range workers() {
		t.Run(n, func(t *testing.T) {
			c := client[n]
			for _, what := range []string{
				"tcp/" + pool + ":80", "udp/" + pool + ":81", "tcp/" + zone + ":80",
				"tcp/e2e-pool.default.svc.cluster.local:80", "udp/e2e-pool.default.svc.cluster.local:81",
			} {
				c.want(t, waking, what, homes(site(n)...)...)
			}
			for _, what := range []string{"tcp/" + node + ":80", "udp/" + node + ":81"} {
				c.want(t, waking, what, home(n))
			}
			// Without the annotation it is as it was; this is what would answer, too.
			within(t, waking, func() error {
				if got := c.answers(t, "tcp/"+everywhere+":80"); len(strings.Fields(got)) < 4 {
					return fmt.Errorf("a Service without an annotation is answered by %s only", got)
				}
				return nil
			})
			c.want(t, forgotten, "name/e2e-headless.default.svc.cluster.local", addresses(t, site(n)...))
		})
	}
}

// addresses are those of homes, as a DNS answer.
func addresses(t *testing.T, nodes ...string) string {
	t.Helper()
	var out []string
	for _, n := range nodes {
		out = append(out, kubectl(t, "get", "pod", home(n), "-o", "jsonpath={.status.podIP}"))
	}
	if len(out) == 2 && out[1] < out[0] {
		out[0], out[1] = out[1], out[0]
	}
	return strings.Join(out, "+")
}

// changed changes the annotation of a Service that is in use.
func changed(t *testing.T, client map[string]pod) {
	t.Helper()
	ip := newService(t, "e2e-changed", "selector: {at: away}")
	for _, c := range []struct {
		to   string
		home func(node string) []string
	}{
		{"openyurt.io/topologyKeys=" + byPool, site},
		{"openyurt.io/topologyKeys=" + byNode, func(n string) []string { return []string{n} }},
		{"openyurt.io/topologyKeys-", func(string) []string { return away() }},
		{"openyurt.io/topologyKeys=" + byPool, site},
	} {
		annotate(t, "e2e-changed", c.to)
		for _, n := range []string{"cloud-1", "a-1", "b-1"} {
			took := client[n].want(t, atOnce, "tcp/"+ip+":80", homes(c.home(n)...)...)
			client[n].want(t, atOnce, "udp/"+ip+":81", homes(c.home(n)...)...)
			t.Logf("%s on %s: all answers right %v later", c.to, n, took.Round(10*time.Millisecond))
		}
	}
}

// moved takes a site's only endpoint away and puts it elsewhere: who has none
// left gets no answer, and none from far away.
func moved(t *testing.T, client map[string]pod) {
	t.Helper()
	const name = "e2e-moving"
	ip := newService(t, name, "selector: {app: e2e-moving}", topologyKeys(byPool))
	newService(t, name+"-dns", "clusterIP: None, selector: {app: e2e-moving}", topologyKeys(byPool))
	t.Cleanup(func() { kubectl(t, "delete", "pod", "-l", "app=e2e-moving", "--now", "--ignore-not-found") })
	apply(t, serverPod(t, name+"-cloud", "cloud-2", "app: e2e-moving")+serverPod(t, name, "a-2", "app: e2e-moving"))
	kubectl(t, "wait", "pod", "-l", "app=e2e-moving", "--for=condition=Ready", "--timeout=60s")
	check := func(node string, who string) {
		t.Helper()
		client[node].want(t, atOnce, "tcp/"+ip+":80", who)
		client[node].want(t, atOnce, "udp/"+ip+":81", who)
		found := nobody
		if who != nobody {
			found = kubectl(t, "get", "pod", who, "-o", "jsonpath={.status.podIP}")
		}
		client[node].want(t, forgotten, "name/"+name+"-dns.default.svc.cluster.local", found)
	}
	check("a-1", name)
	check("b-1", nobody)
	check("cloud-1", name+"-cloud")
	kubectl(t, "delete", "pod", name, "--now")
	check("a-1", nobody)
	check("cloud-1", name+"-cloud")
	apply(t, serverPod(t, name, "b-1", "app: e2e-moving"))
	kubectl(t, "wait", "pod", name, "--for=condition=Ready", "--timeout=60s")
	check("b-1", name)
	check("a-1", nobody)
}

// fence opens a NodePort where the annotation says so, and changes that.
func fence(t *testing.T, client map[string]pod) {
	t.Helper()
	const name = "e2e-fence"
	ip := newService(t, name, "type: NodePort, selector: {at: away}", `nodeport.openyurt.io/listen: "shop-a, -shop-b"`)
	port := kubectl(t, "get", "service", name, "-o", "jsonpath={.spec.ports[0].nodePort}")
	check := func(open ...string) {
		t.Helper()
		begin := time.Now()
		for _, n := range away() {
			opens(t, n, port, strings.Contains(strings.Join(open, " "), n))
		}
		t.Logf("open on %v: %v later", open, time.Since(begin).Round(10*time.Millisecond))
		for _, n := range []string{"cloud-1", "a-1", "b-1"} {
			client[n].want(t, atOnce, "tcp/"+ip+":80", homes(away()...)...) // fenced or not
		}
	}
	check("a-1", "a-2")
	annotate(t, name, "nodeport.openyurt.io/listen=*, -shop-a")
	check("cloud-1", "cloud-2", "b-1")
	annotate(t, name, "nodeport.openyurt.io/listen=shop-b,no-such-pool,,")
	check("b-1")
	annotate(t, name, "nodeport.openyurt.io/listen-")
	check(away()...)
}

// opens waits until a node's own address does or does not answer at the port.
func opens(t *testing.T, node, port string, want bool) {
	t.Helper()
	at := "tcp/" + kubectl(t, "get", "node", node, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`) + ":" + port
	within(t, atOnce, func() error {
		got := pod{node: node}.answers(t, at)
		if open := !strings.Contains(got, nobody); open != want {
			return fmt.Errorf("%s on %s: answered by %s, want it open: %t", at, node, got, want)
		}
		return nil
	})
}

// loadBalancer: the port for health checks is a NodePort, too.
func loadBalancer(t *testing.T) {
	const name = "e2e-balanced"
	newService(t, name, "type: LoadBalancer, externalTrafficPolicy: Local, selector: {at: away}", `nodeport.openyurt.io/listen: "shop-a"`)
	port := kubectl(t, "get", "service", name, "-o", "jsonpath={.spec.healthCheckNodePort}")
	for node, want := range map[string]bool{"a-1": true, "b-1": false, "cloud-1": false} {
		opens(t, node, port, want)
	}
	annotate(t, name, "nodeport.openyurt.io/listen=shop-b")
	for node, want := range map[string]bool{"a-1": false, "b-1": true, "cloud-1": false} {
		opens(t, node, port, want)
	}
}

// unknown gives a value that nobody knows: no filter, and a Warning.
func unknown(t *testing.T, client map[string]pod) {
	t.Helper()
	ip := newService(t, "e2e-unknown", "selector: {at: away}", topologyKeys("example.com/continent"))
	within(t, 30*time.Second, func() error {
		out := kubectl(t, "get", "events", "--field-selector", "involvedObject.kind=Service,involvedObject.name=e2e-unknown,type=Warning",
			"-o", "jsonpath={.items[*].reason} {.items[*].message}")
		if !strings.Contains(out, "UnknownTopology") || !strings.Contains(out, "example.com/continent") {
			return fmt.Errorf("no Warning names the value: %q", out)
		}
		return nil
	})
	client["b-1"].want(t, atOnce, "tcp/"+ip+":80", homes(away()...)...)
}
