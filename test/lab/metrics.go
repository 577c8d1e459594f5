// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/test/lab/fetch"
	"github.com/magpie-edge/magpie/test/lab/image"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// MetricsImage is the image of metrics-server.
const MetricsImage = "magpie.lab/metrics-server:" + fetch.Metrics

// MetricsServer builds and installs the real metrics-server, which reads from
// edge kubelets through the gateway's HTTP entry: the names of edge nodes lead
// it there, and the token it shows is its own.
func (l *Lab) MetricsServer(ctx context.Context) error {
	labDir := filepath.Join(l.opt.Repo, "test", "lab")
	if err := fetch.Build(ctx, l.opt.Cache, labDir, fetch.Extras(), l.opt.Show); err != nil {
		return err
	}
	done := l.opt.Show.Step("install metrics-server", 0, 0)
	err := l.installMetrics(ctx)
	done(err)
	return err
}

func (l *Lab) installMetrics(ctx context.Context) error {
	tar, err := image.Write(filepath.Join(l.opt.Cache, "images"), image.Image{
		Ref: MetricsImage, Layers: []image.Layer{{{Path: "metrics-server", Source: l.Tool("metrics-server")}, {Path: "tmp", Mode: 0o1777}}},
		Entrypoint: []string{"/metrics-server"},
	})
	if err != nil {
		return err
	}
	for _, h := range workers() {
		if err := l.importImage(ctx, h.Name, tar); err != nil {
			return err
		}
	}
	entries, err := l.clusterIP(ctx, "kube-system", "magpie-gateway-entries")
	if err != nil {
		return err
	}
	if err := l.apply(ctx, metricsManifests(entries)); err != nil {
		return err
	}
	err = poll(ctx, 2*time.Minute, func() error {
		_, err := l.get(ctx, "/apis/metrics.k8s.io/v1beta1/nodes")
		return err
	})
	if err != nil {
		return fmt.Errorf("metrics-server (see `magpie-lab kubectl -n kube-system logs deploy/metrics-server`): %w", err)
	}
	return nil
}

func (l *Lab) clusterIP(ctx context.Context, namespace, name string) (string, error) {
	body, err := l.get(ctx, "/api/v1/namespaces/"+namespace+"/services/"+name)
	if err != nil {
		return "", err
	}
	var s struct{ Spec struct{ ClusterIP string } }
	if err := json.Unmarshal(body, &s); err != nil {
		return "", fmt.Errorf("decode service: %w", err)
	}
	return s.Spec.ClusterIP, nil
}

// metricsManifests are those of the project's release, with names instead of
// addresses: two shops have the same ones.
func metricsManifests(entries string) string {
	cloud, edge := "", []string{}
	for _, h := range workers() {
		if h.Type == "cloud" {
			cloud += fmt.Sprintf("      - {ip: %s, hostnames: [%s]}\n", h.IP, h.Name)
		} else {
			edge = append(edge, h.Name)
		}
	}
	hosts := cloud + fmt.Sprintf("      - {ip: %s, hostnames: [%s]}\n", entries, strings.Join(edge, ", "))
	cp, _ := world.FindHost(world.ControlPlane)
	return strings.NewReplacer("IMAGE", MetricsImage, "      HOSTS\n", hosts, "APISERVER", cp.EIP).Replace(metricsServer)
}

const metricsServer = `apiVersion: v1
kind: ServiceAccount
metadata: {name: metrics-server, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:metrics-server"}
rules:
- {apiGroups: [""], resources: [nodes/metrics], verbs: [get]}
- {apiGroups: [""], resources: [pods, nodes], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:metrics-server"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:metrics-server"}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "metrics-server:system:auth-delegator"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:auth-delegator"}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: metrics-server-auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: metrics-server, namespace: kube-system}]
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {selector: {k8s-app: metrics-server}, ports: [{name: https, port: 443, targetPort: https}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: metrics-server, namespace: kube-system, labels: {k8s-app: metrics-server}}
spec:
  selector: {matchLabels: {k8s-app: metrics-server}}
  strategy: {type: Recreate}
  template:
    metadata: {labels: {k8s-app: metrics-server}}
    spec:
      serviceAccountName: metrics-server
      nodeSelector: {apps.openyurt.io/nodepool: cloud}
      hostAliases:
      HOSTS
      containers:
      - name: metrics-server
        image: IMAGE
        imagePullPolicy: Never
        args: [--cert-dir=/tmp, --secure-port=10260, --metric-resolution=15s,
          --kubelet-preferred-address-types=Hostname, --kubelet-insecure-tls]
        env: [{name: KUBERNETES_SERVICE_HOST, value: APISERVER}, {name: KUBERNETES_SERVICE_PORT, value: "6443"}]
        ports: [{name: https, containerPort: 10260}]
        readinessProbe: {httpGet: {path: /readyz, port: https, scheme: HTTPS}, periodSeconds: 2}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  service: {name: metrics-server, namespace: kube-system}
  group: metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
`
