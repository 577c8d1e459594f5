// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/magpie-edge/magpie/test/apiserver"
)

// systemYAML is what kubeadm makes, less what does not matter here.
const systemYAML = `
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: "clientConnection: {kubeconfig: /var/lib/kube-proxy/kubeconfig.conf}\n"
  kubeconfig.conf: |
    apiVersion: v1
    kind: Config
    clusters: [{name: default, cluster: {server: "https://192.0.2.1:6443"}}]
    users: [{name: default, user: {tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token}}]
    contexts: [{name: default, context: {cluster: default, user: default}}]
    current-context: default
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-proxy}}
  template:
    metadata: {labels: {k8s-app: kube-proxy}}
    spec:
      containers:
      - {name: kube-proxy, image: kube-proxy, volumeMounts: [{name: kube-proxy, mountPath: /var/lib/kube-proxy}]}
      volumes: [{name: kube-proxy, configMap: {name: kube-proxy}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
        kubernetes cluster.local in-addr.arpa ip6.arpa {
           pods insecure
        }
        reload
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      containers:
      - {name: coredns, image: coredns, volumeMounts: [{name: config-volume, mountPath: /etc/coredns}]}
      volumes: [{name: config-volume, configMap: {name: coredns, items: [{key: Corefile, path: Corefile}]}}]
`

// TestSwitch: magpiectl points both at the hub, says so, does it twice without
// a second change, and the chart's account takes it back to what it was.
func TestSwitch(t *testing.T) {
	rights := apiserver.ChartWith(t, "kube-system", []string{"hub.enabled=true"}, "agent/unhub.yaml")
	// The Job is not run here: nobody runs pods.
	for _, text := range []string{rights, systemYAML} {
		if err := server.ApplyYAML(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	exe := build(t, "magpiectl")
	hub := func(as string, want int, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), exe, append([]string{"hub", "--kubeconfig", kubeconfig(t, as)}, args...)...)
		out, _ := cmd.CombinedOutput() // the status says it
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Fatalf("hub %v ends with %d, want %d:\n%s", args, got, want, out)
		}
		return string(out)
	}
	root := server.Config.BearerToken
	before := state(t)
	hub(root, 1, "status")
	if out := hub(root, 2, "enable"); !strings.Contains(out, "no magpie-agent is installed") {
		t.Errorf("without agents: %s", out)
	}
	if out := hub(root, 0, "enable", "--force", "--dry-run"); !strings.Contains(out, "would change DaemonSet kube-system/kube-proxy") {
		t.Errorf("dry run says: %s", out)
	}
	if diff := cmp.Diff(before, state(t)); diff != "" {
		t.Fatalf("a dry run changes (-before +after):\n%s", diff)
	}
	hub(root, 0, "enable", "--force", "--timeout", "0")
	hub(root, 0, "status")
	report, err := exec.CommandContext(t.Context(), exe, "service", "default/kubernetes", "-o", "json", "--kubeconfig", kubeconfig(t, root)).Output()
	if !strings.Contains(string(report), "read through its hub") {
		t.Errorf("magpiectl service does not know: %v %s", err, report)
	}
	on := state(t)
	if !strings.Contains(on["Corefile"], "import /etc/magpie-hub/") || !strings.Contains(on["kube-proxy-hub"], "https://127.0.0.1:10298") {
		t.Errorf("enabled it is %v", on)
	}
	if out := hub(root, 0, "enable", "--force", "--timeout", "0"); strings.Contains(out, "change") {
		t.Errorf("a second time changes: %s", out)
	}
	for range 2 {
		hub(token(t, "magpie-unhub"), 0, "disable", "--timeout", "0")
		if diff := cmp.Diff(before, state(t)); diff != "" {
			t.Errorf("undone it is something else (-before +after):\n%s", diff)
		}
	}
}

func kubeconfig(t *testing.T, bearer string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: server.Config.Host, CertificateAuthority: server.Config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: bearer}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// state is everything that the command may change: data of ConfigMaps, and the
// templates and annotations of workloads.
func state(t *testing.T) map[string]string {
	t.Helper()
	k := admin(t)
	out := map[string]string{}
	for _, name := range []string{"kube-proxy", "coredns", "kube-proxy-hub"} {
		if cm, err := k.CoreV1().ConfigMaps("kube-system").Get(t.Context(), name, metav1.GetOptions{}); err == nil {
			for key, text := range cm.Data {
				if name == "kube-proxy-hub" {
					key = name
				}
				out[key] = text
			}
		}
	}
	ds, err := k.AppsV1().DaemonSets("kube-system").Get(t.Context(), "kube-proxy", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := k.AppsV1().Deployments("kube-system").Get(t.Context(), "coredns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(ds.Annotations, func(key, _ string) bool { return key == appsv1.DeprecatedTemplateGeneration })
	out["DaemonSet"], out["Deployment"] = ds.Spec.Template.String(), d.Spec.Template.String()
	for key, value := range ds.Annotations {
		out["annotation "+key] = value
	}
	return out
}
