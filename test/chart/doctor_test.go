// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// diagnosis is what this test reads of a report of magpiectl doctor.
type diagnosis struct {
	OK       bool
	Findings []struct{ Code, Severity, Subject, Text, Do, Runbook string }
	Checks   []struct{ Name, Skipped string }
}

// magpiectl builds it and returns the path.
func magpiectl(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "magpiectl")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, root+"/cmd/magpiectl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// as is magpiectl run by somebody.
func as(t *testing.T, binary string, cfg *rest.Config, args ...string) *exec.Cmd {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: cfg.Host, CertificateAuthority: cfg.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: cfg.BearerToken}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), binary, append(args, "--kubeconfig", path)...)
}

// run runs magpiectl as somebody and returns the JSON it prints.
func run(t *testing.T, binary string, cfg *rest.Config, args ...string) []byte {
	t.Helper()
	out, err := as(t, binary, cfg, append(args, "-o", "json")...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || exit.ExitCode() != 1) {
		if ok {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

// doctor runs magpiectl doctor as somebody.
func doctor(t *testing.T, binary string, cfg *rest.Config) diagnosis {
	t.Helper()
	out := run(t, binary, cfg, "doctor")
	var d diagnosis
	if err := json.Unmarshal(out, &d); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return d
}

func (d diagnosis) find(code, subject string) bool {
	for _, f := range d.Findings {
		if f.Code == code && f.Subject == subject {
			return true
		}
	}
	return false
}

// TestDoctor runs the command with no more than the ClusterRole magpie-view
// against a cluster in which the chart is installed and nobody runs.
func TestDoctor(t *testing.T) {
	admin := install(t)
	binary := magpiectl(t)
	looker := asPod(t, admin, "magpie-test", "c-1")
	ready(t, admin, "c-1", corev1.ConditionTrue)
	checkService(t, binary, looker)
	annotatedService(t, admin)
	d := doctor(t, binary, looker)
	for _, c := range d.Checks {
		if strings.Contains(c.Skipped, "forbidden") {
			t.Errorf("magpie-view is not enough for %q: %s", c.Name, c.Skipped)
		}
	}
	if d.OK || !d.find("manager-down", "cluster") || !d.find("agent-missing", "node c-1") {
		t.Errorf("nobody runs, and doctor says %+v", d)
	}
	if !d.find("hub-off", "cluster") || !d.find("listen-unknown-pool", "pool nowhere") || !d.find("unknown-topology", "service default/annotated") {
		t.Errorf("of annotations, doctor says %+v", d)
	}
	ready(t, admin, "c-1", corev1.ConditionFalse)
	if d := doctor(t, binary, looker); d.find("agent-missing", "node c-1") || !d.find("node-not-ready", "node c-1") && !d.find("no-pod-cidr", "node c-1") {
		t.Errorf("the node is not Ready, and doctor says %+v", d)
	}
	for _, f := range d.Findings {
		if f.Text == "" || f.Do == "" || f.Runbook == "" {
			t.Errorf("%+v", f)
		}
	}
}

// annotatedService asks for what nobody follows, in words that mean nothing.
func annotatedService(t *testing.T, c *kubernetes.Clientset) {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{
		Name: "annotated", Annotations: map[string]string{"nodeport.openyurt.io/listen": "nowhere", "openyurt.io/topologyKeys": "site"},
	}}
	s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, []corev1.ServicePort{{Port: 80}}
	if _, err := c.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.CoreV1().Services("default").Delete(context.Background(), s.Name, metav1.DeleteOptions{})
	})
}

// checkService: the role is enough for magpiectl service, too.
func checkService(t *testing.T, binary string, cfg *rest.Config) {
	t.Helper()
	var r struct {
		Name     string
		Pin      struct{ Reach string }
		Problems []struct{ Code string }
		Nodes    []struct{ Name string }
	}
	out := run(t, binary, cfg, "service", "default/kubernetes")
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	// This API server publishes no address of its own.
	if r.Name != "kubernetes" || r.Pin.Reach != "anywhere" || len(r.Nodes) == 0 || len(r.Problems) != 1 || r.Problems[0].Code != "no-endpoint" {
		t.Errorf("of default/kubernetes it says %s", out)
	}
}

func ready(t *testing.T, admin *kubernetes.Clientset, node string, is corev1.ConditionStatus) {
	t.Helper()
	n, err := admin.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	n.Status.Conditions = []corev1.NodeCondition{{
		Type: corev1.NodeReady, Status: is, LastTransitionTime: metav1.NewTime(time.Now().Add(-time.Hour)), Message: "the test says so",
	}}
	if _, err := admin.CoreV1().Nodes().UpdateStatus(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}
