// SPDX-License-Identifier: Apache-2.0

package chart_test

import (
	"context"
	"strings"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// install applies the whole chart, hooks and tests included: the server refuses
// fields that do not exist.
func install(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	admin := clientset(t, server.Config)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if err := server.ApplyYAML(t.Context(), render(t, "--values", labValues)); err != nil {
		t.Fatal(err)
	}
	return admin
}

func clientset(t *testing.T, cfg *rest.Config) *kubernetes.Clientset {
	t.Helper()
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asPod returns the config of a pod of that ServiceAccount on a node, with the
// kind of token that kubelet mounts into it; node "" gives a token without a pod.
func asPod(t *testing.T, admin *kubernetes.Clientset, account, node string) *rest.Config {
	t.Helper()
	ctx := t.Context()
	request := &authnv1.TokenRequest{}
	if node != "" {
		if _, err := admin.CoreV1().Nodes().Create(ctx, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: node, Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"mine": "not"}},
		}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		pod, err := admin.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: account + "-", Namespace: namespace},
			Spec: corev1.PodSpec{
				ServiceAccountName: account, NodeName: node,
				Containers: []corev1.Container{{Name: "c", Image: "none"}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			now := int64(0)
			_ = admin.CoreV1().Pods(namespace).Delete(context.Background(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}) // the server goes, too
		})
		request.Spec.BoundObjectRef = &authnv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	}
	out, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(server.Config)
	cfg.BearerToken = out.Status.Token
	cfg.QPS = -1
	return cfg
}

// attempt is one write: a server-side apply (or patch, or delete) of an agent.
type attempt struct {
	name, path, body string
	verb             types.PatchType // "" deletes
	denied           string          // "" is allowed; otherwise a part of the reason
}

const (
	report = "/apis/net.magpie.dev/v1alpha1/linkreports/"
	nodes  = "/api/v1/nodes/"
	apply  = types.ApplyYAMLPatchType
	merge  = types.MergePatchType
	strate = types.StrategicMergePatchType
)

func linkReport(node string) string {
	return `{apiVersion: net.magpie.dev/v1alpha1, kind: LinkReport, metadata: {name: ` + node + `}, spec: {driver: userspace, mtu: 1420}}`
}

func nodeApply(node, rest string) string {
	return `{apiVersion: v1, kind: Node, metadata: {name: ` + node + rest
}

const flannelMAC = `, annotations: {flannel.alpha.coreos.com/backend-data: '{"VtepMAC":"02:00:00:00:00:01"}'}}`

var attempts = []attempt{
	{name: "own report", path: report + "a-1", verb: apply, body: linkReport("a-1")},
	{name: "own report again", path: report + "a-1", verb: apply, body: linkReport("a-1")},
	{name: "another's new report", path: report + "a-2", verb: apply, body: linkReport("a-2"), denied: "the agent of node a-1 may write the LinkReport a-1 only"},
	{name: "another's report", path: report + "b-1", verb: apply, body: linkReport("b-1"), denied: "the agent of node a-1 may write the LinkReport a-1 only"},
	{name: "delete another's report", path: report + "b-1", denied: "may write the LinkReport a-1 only"},
	{
		name: "what an agent publishes", path: nodes + "a-1/status", verb: apply,
		body: nodeApply("a-1", flannelMAC+`, status: {conditions: [{type: NetworkUnavailable, status: "False", reason: MagpieIsUp}]}}`),
	},
	{
		name: "the same with another time", path: nodes + "a-1/status", verb: apply,
		body: nodeApply("a-1", flannelMAC+`, status: {conditions: [{type: NetworkUnavailable, status: "True", reason: MagpieIsDown}]}}`),
	},
	{name: "another's annotations", path: nodes + "b-1/status", verb: apply, body: nodeApply("b-1", flannelMAC+"}"), denied: "the agent of node a-1 may write its own Node only"},
	{name: "a foreign annotation", path: nodes + "a-1/status", verb: merge, body: `{"metadata":{"annotations":{"mine":"yes"}}}`, denied: "annotations of flannel.alpha.coreos.com only"},
	{name: "a new foreign annotation", path: nodes + "a-1/status", verb: merge, body: `{"metadata":{"annotations":{"flannel.alpha.coreos.com.evil":"yes"}}}`, denied: "annotations of flannel.alpha.coreos.com only"},
	{name: "removing an annotation", path: nodes + "a-1/status", verb: merge, body: `{"metadata":{"annotations":{"mine":null}}}`, denied: "annotations of flannel.alpha.coreos.com only"},
	{name: "a label", path: nodes + "a-1/status", verb: merge, body: `{"metadata":{"labels":{"raven.openyurt.io/gateway":"gw-cloud"}}}`, denied: "labels, finalizers or owners"},
	{name: "removing the labels", path: nodes + "a-1/status", verb: merge, body: `{"metadata":{"labels":null}}`, denied: "labels, finalizers or owners"},
	{name: "a finalizer", path: nodes + "a-1/status", verb: merge, body: `{"metadata":{"finalizers":["x/y"]}}`, denied: "labels, finalizers or owners"},
	{name: "an address", path: nodes + "a-1/status", verb: merge, body: `{"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}}`, denied: "condition NetworkUnavailable"},
	{name: "capacity", path: nodes + "a-1/status", verb: merge, body: `{"status":{"capacity":{"cpu":"1000"}}}`, denied: "condition NetworkUnavailable"},
	{name: "the condition Ready", path: nodes + "a-1/status", verb: strate, body: `{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`, denied: "condition NetworkUnavailable"},
	{name: "no conditions", path: nodes + "a-1/status", verb: merge, body: `{"status":{"conditions":[]}}`},
	{name: "the spec", path: nodes + "a-1", verb: merge, body: `{"spec":{"unschedulable":true}}`, denied: "cannot patch"},
	{name: "its annotations otherwise", path: nodes + "a-1", verb: merge, body: `{"metadata":{"annotations":{"flannel.alpha.coreos.com/x":"y"}}}`, denied: "cannot patch"},
	{name: "deleting a node", path: nodes + "a-1", denied: "cannot delete"},
	{name: "a gateway", path: "/apis/raven.openyurt.io/v1beta1/gateways/gw-evil", verb: apply, body: `{apiVersion: raven.openyurt.io/v1beta1, kind: Gateway, metadata: {name: gw-evil}}`, denied: "cannot patch"},
}

// TestAgentIsConfined writes as the agent of node a-1, first with the rights
// that the chart gives, then with those of an administrator of nodes and
// reports: the policies hold by themselves.
func TestAgentIsConfined(t *testing.T) {
	admin := install(t)
	agent := clientset(t, asPod(t, admin, "magpie-agent", "a-1"))
	other := clientset(t, asPod(t, admin, "magpie-agent", "b-1"))
	do(t, other, attempt{name: "b-1's own report", path: report + "b-1", verb: apply, body: linkReport("b-1")})
	waitForPolicies(t, agent)
	for _, a := range attempts {
		t.Run(a.name, func(t *testing.T) { do(t, agent, a) })
	}
	t.Run("with more rights", func(t *testing.T) {
		grant(t, admin)
		for _, a := range []attempt{
			{name: "the spec", path: nodes + "a-1", verb: merge, body: `{"spec":{"unschedulable":true}}`, denied: "may not write the spec"},
			{name: "a taint", path: nodes + "a-1", verb: merge, body: `{"spec":{"taints":[{"key":"x","effect":"NoExecute"}]}}`, denied: "may not write the spec"},
			{name: "a label", path: nodes + "a-1", verb: merge, body: `{"metadata":{"labels":{"x":"y"}}}`, denied: "labels, finalizers or owners"},
			{name: "deleting a node", path: nodes + "a-1", denied: "neither creates nor deletes"},
			{name: "own annotation", path: nodes + "a-1", verb: merge, body: `{"metadata":{"annotations":{"flannel.alpha.coreos.com/public-ip":"192.168.1.11"}}}`},
			{name: "own report", path: report + "a-1"},
		} {
			t.Run(a.name, func(t *testing.T) { do(t, agent, a) })
		}
	})
	t.Run("a token without a node", func(t *testing.T) {
		c := clientset(t, asPod(t, admin, "magpie-agent", ""))
		do(t, c, attempt{path: report + "a-1", verb: apply, body: linkReport("a-1"), denied: "the token does not name a node"})
		do(t, c, attempt{path: nodes + "a-1/status", verb: apply, body: nodeApply("a-1", flannelMAC+"}"), denied: "the token does not name a node"})
	})
	t.Run("nobody else is affected", func(t *testing.T) {
		do(t, admin, attempt{path: report + "a-9", verb: apply, body: linkReport("a-9")})
		do(t, admin, attempt{path: nodes + "a-1", verb: merge, body: `{"metadata":{"labels":{"x":"y"}},"spec":{"unschedulable":true}}`})
	})
}

func do(t *testing.T, c *kubernetes.Clientset, a attempt) {
	t.Helper()
	switch err := try(t, c, a); {
	case a.denied == "" && err != nil:
		t.Errorf("denied: %v", err)
	case a.denied != "" && err == nil:
		t.Error("allowed")
	case a.denied != "" && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), a.denied)):
		t.Errorf("denied by %v\nwant %q", err, a.denied)
	}
}

func try(t *testing.T, c *kubernetes.Clientset, a attempt) error {
	t.Helper()
	if a.verb == "" {
		return c.RESTClient().Delete().AbsPath(a.path).Do(t.Context()).Error()
	}
	r := c.RESTClient().Patch(a.verb).AbsPath(a.path).Body([]byte(a.body))
	if a.verb == apply {
		r = r.Param("fieldManager", "magpie-agent").Param("force", "true")
	}
	return r.Do(t.Context()).Error()
}

// waitForPolicies: the server compiles new policies within a second or so.
func waitForPolicies(t *testing.T, agent *kubernetes.Clientset) {
	t.Helper()
	for _, a := range []attempt{
		{path: report + "zz", verb: apply, body: linkReport("zz")},
		{path: nodes + "b-1/status", verb: merge, body: `{"metadata":{"annotations":{"x":"y"}}}`},
	} {
		end := time.Now().Add(20 * time.Second) // real time, real server
		for try(t, agent, a) == nil {
			if time.Now().After(end) { // real time, real server
				t.Fatalf("no policy is in force after 20 s: %s is allowed", a.path)
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// grant gives agents all rights on what the policies guard.
func grant(t *testing.T, admin *kubernetes.Clientset) {
	t.Helper()
	err := server.ApplyYAML(t.Context(), `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: too-much}
rules:
  - {apiGroups: ["", net.magpie.dev], resources: [nodes, nodes/status, linkreports], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: too-much}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: too-much}
subjects: [{kind: ServiceAccount, name: magpie-agent, namespace: magpie-system}]
`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = admin.RbacV1().ClusterRoleBindings().Delete(context.Background(), "too-much", metav1.DeleteOptions{}) // the server goes, too
	})
}

// TestRights asks the server what each ServiceAccount may do. The list is what
// the code uses; whatever is not in it is refused.
func TestRights(t *testing.T) {
	admin := install(t)
	for _, account := range []string{"magpie-agent", "magpie-manager", "magpie-gateway", "magpie-cleanup", "magpie-crds", "magpie-test"} {
		checkRights(t, clientset(t, asPod(t, admin, account, "c-1")), account, rights)
	}
}

func checkRights(t *testing.T, c *kubernetes.Clientset, account string, rights []right) {
	t.Helper()
	for _, q := range rights {
		allowed := strings.Contains(q.who, account)
		t.Run(account+"/"+q.verb+" "+q.resource, func(t *testing.T) {
			group, resource, _ := strings.Cut(q.resource, ":")
			resource, sub, _ := strings.Cut(resource, "/")
			answer, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(t.Context(), &authzv1.SelfSubjectAccessReview{
				Spec: authzv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authzv1.ResourceAttributes{
					Group: group, Resource: resource, Subresource: sub, Verb: q.verb, Namespace: q.ns, Name: q.name,
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if answer.Status.Allowed != allowed {
				t.Errorf("allowed is %t, want %t: %s", answer.Status.Allowed, allowed, answer.Status.Reason)
			}
		})
	}
}

type right struct{ verb, resource, ns, name, who string }

var rights = []right{
	{"watch", ":nodes", "", "", "magpie-agent magpie-manager magpie-gateway magpie-test"},
	{"patch", ":nodes/status", "", "a-1", "magpie-agent"},
	{"patch", ":nodes", "", "a-1", "magpie-manager"},
	{"create", ":nodes", "", "", ""},
	{"delete", ":nodes", "", "a-1", ""},
	{"watch", "net.magpie.dev:domainslices", "", "", "magpie-agent magpie-manager magpie-gateway magpie-test"},
	{"patch", "net.magpie.dev:domainslices", "", "x", "magpie-manager"},
	{"create", "net.magpie.dev:domainslices", "", "", "magpie-manager"},
	{"delete", "net.magpie.dev:domainslices", "", "x", "magpie-manager"},
	{"create", "net.magpie.dev:linkreports", "", "", "magpie-agent"},
	{"patch", "net.magpie.dev:linkreports", "", "a-1", "magpie-agent"},
	{"delete", "net.magpie.dev:linkreports", "", "a-1", "magpie-agent magpie-manager"},
	{"create", "raven.openyurt.io:gateways", "", "", "magpie-manager"},
	{"patch", "raven.openyurt.io:gateways/status", "", "x", "magpie-manager"},
	{"patch", "apps.openyurt.io:nodepools/status", "", "x", "magpie-manager"},
	{"patch", "apps.openyurt.io:nodepools", "", "x", ""},
	{"get", ":configmaps", "kube-system", "raven-cfg", "magpie-manager magpie-test"},
	{"get", ":configmaps", "kube-system", "kubeadm-config", "magpie-test"},
	{"get", ":secrets", "kube-system", "", ""},
	{"create", ":secrets", "kube-system", "", ""},
	{"update", ":secrets", "kube-system", "magpie-tunnel-ca", "magpie-manager"},
	{"patch", ":configmaps", "kube-system", "magpie-tunnel-ca", "magpie-manager"},
	{"watch", ":configmaps", "kube-system", "magpie-tunnel-ca", "magpie-agent magpie-manager magpie-gateway magpie-test"},
	{"create", "certificates.k8s.io:certificatesigningrequests", "", "", "magpie-agent magpie-gateway"},
	{"list", "certificates.k8s.io:certificatesigningrequests", "", "", "magpie-manager"},
	{"update", "certificates.k8s.io:certificatesigningrequests/approval", "", "x", "magpie-manager"},
	{"update", "certificates.k8s.io:certificatesigningrequests/status", "", "x", "magpie-manager"},
	{"approve", "certificates.k8s.io:signers", "", "net.magpie.dev/tunnel-agent", "magpie-manager"},
	{"sign", "certificates.k8s.io:signers", "", "net.magpie.dev/tunnel-gateway", "magpie-manager"},
	{"approve", "certificates.k8s.io:signers", "", "kubernetes.io/kube-apiserver-client", ""},
	{"create", "authentication.k8s.io:tokenreviews", "", "", "magpie-gateway"},
	{"create", "authorization.k8s.io:subjectaccessreviews", "", "", "magpie-gateway"},
	{"watch", "discovery.k8s.io:endpointslices", "", "", "magpie-gateway"},
	{"get", ":nodes/proxy", "", "a-1", ""},
	{"create", ":pods", namespace, "", ""},
	{"update", "coordination.k8s.io:leases", namespace, "magpie-manager", "magpie-manager"},
	{"update", "coordination.k8s.io:leases", "kube-node-lease", "a-1", ""},
	{"get", ":pods/proxy", namespace, "x", ""},
	{"get", "apps:daemonsets", namespace, "magpie-cleanup", "magpie-cleanup magpie-test"},
	{"get", "apps:daemonsets", namespace, "magpie-agent", "magpie-test"},
	{"patch", "apiextensions.k8s.io:customresourcedefinitions", "", "linkreports.net.magpie.dev", "magpie-crds"},
	{"patch", "apiextensions.k8s.io:customresourcedefinitions", "", "others.example.org", ""},
	{"delete", "apiextensions.k8s.io:customresourcedefinitions", "", "linkreports.net.magpie.dev", ""},
	{"create", ":serviceaccounts/token", namespace, "magpie-agent", ""},
	{"escalate", "rbac.authorization.k8s.io:clusterroles", "", "", ""},
}
