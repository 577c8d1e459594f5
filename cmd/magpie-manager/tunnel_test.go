// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	certv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// TestTunnelRequests: the command as it is shipped signs what an agent may
// have, refuses another's name, counts that and says so on the Node that asked.
// The chart's admission policy, which would refuse it first, is not installed.
func TestTunnelRequests(t *testing.T) {
	binary, kube := build(t), kubeconfig(t)
	if err := server.ApplyYAML(t.Context(), apiserver.Chart(t, namespace, "agent/rbac.yaml")); err != nil {
		t.Fatal(err)
	}
	newNode(t, "till-1", "", "10.43.1.0/24")
	newNode(t, "till-2", "", "10.43.2.0/24")
	listen, out, _ := replica(t, binary, kube)
	agent := agentOn(t, "till-1")

	own := request(t, agent, "till-1")
	eventually(t, 60*time.Second, func() error {
		csr, err := agent.CertificatesV1().CertificateSigningRequests().Get(t.Context(), own, metav1.GetOptions{})
		if err == nil && len(csr.Status.Certificate) == 0 {
			err = errors.New("no certificate yet")
		}
		return err
	})
	other := request(t, agent, "till-2")
	eventually(t, 10*time.Second, func() error {
		csr, err := agent.CertificatesV1().CertificateSigningRequests().Get(t.Context(), other, metav1.GetOptions{})
		if err == nil && (len(csr.Status.Conditions) == 0 || csr.Status.Conditions[0].Type != certv1.CertificateDenied) {
			err = fmt.Errorf("not denied: %+v", csr.Status.Conditions)
		}
		return err
	})
	eventually(t, 10*time.Second, func() error {
		text, err := ask(t, "http://"+listen+"/metrics")
		return errors.Join(err, contains(text, `magpie_tunnel_requests_total{code="",result="issued"} 1`),
			contains(text, `magpie_tunnel_requests_total{code="tunnel-not-its-name",result="refused"} 1`),
			contains(text, `magpie_plan_notes{code="tunnel-not-its-name",loop="tunnel-requests"} 1`))
	})
	admin, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		list, err := admin.EventsV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "reason=TunnelNotItsName"})
		if err != nil || len(list.Items) != 1 {
			return fmt.Errorf("%d events: %w", len(list.Items), err)
		}
		e := list.Items[0]
		if e.Regarding.Kind != "Node" || e.Regarding.Name != "till-1" || !strings.Contains(e.Note, `node "till-1" asked for the certificate of "till-2"`) {
			return fmt.Errorf("event: %+v", e)
		}
		return nil
	})
	if strings.Contains(out.String(), "orbidden") {
		t.Errorf("a right is missing:\n%s", out)
	}
}

// agentOn returns a client with the token of an agent's pod on that node.
func agentOn(t *testing.T, node string) *kubernetes.Clientset {
	t.Helper()
	admin, err := kubernetes.NewForConfig(server.Config)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := admin.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-" + node, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeName: node, ServiceAccountName: "magpie-agent",
			Containers: []corev1.Container{{Name: "agent", Image: "magpie"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		zero := int64(0)
		_ = admin.CoreV1().Pods(namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	})
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "magpie-agent", &authv1.TokenRequest{
		Spec: authv1.TokenRequestSpec{BoundObjectRef: &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(server.Config)
	cfg.BearerToken = token.Status.Token
	out, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// request asks for the certificate of a node and returns the request's name.
func request(t *testing.T, as *kubernetes.Clientset, node string) string {
	t.Helper()
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := identity.NewRequest(rand.Reader, key, identity.Agent, node)
	if err != nil {
		t.Fatal(err)
	}
	name, err := identity.RequestName(identity.Agent, node, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	csr := &certv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: identity.RequestSpec(identity.Agent, text)}
	if _, err := as.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}
