// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"github.com/magpie-edge/magpie/test/lab/world"
)

// hasJoin says whether this magpiectl can print a join script.
func (l *Lab) hasJoin(ctx context.Context) bool {
	out, err := l.Host(ctx, l.product("magpiectl"), "join", "--help").CombinedOutput()
	return err == nil && strings.Contains(string(out), "--pool")
}

// bareToken is the bootstrap token of bare joins.
const bareToken = "abcdef.0123456789abcdef"

// bareManifests are the token and what its bearer may.
const bareManifests = `apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lab-kubelet-bootstrap}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-bootstrapper"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lab-approve-bootstrap}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:certificates.k8s.io:certificatesigningrequests:nodeclient"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:bootstrappers"}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lab-approve-renewal}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:nodes"}]
---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
  usage-bootstrap-signing: "true"
`

// bareJoinScript joins a node without the product, for a lab without chart:
// the shortest TLS bootstrap.
func (l *Lab) bareJoinScript(ctx context.Context, h world.Host) ([]byte, error) {
	if err := l.apply(ctx, bareManifests); err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read CA: %w", err)
	}
	r := strings.NewReplacer("@CA@", base64.StdEncoding.EncodeToString(ca), "@SERVER@", apiServer(),
		"@TOKEN@", bareToken, "@POOL@", poolOf(h), "@DNS@", dnsIP)
	return []byte(r.Replace(bareScript)), nil
}

const bareScript = `set -euo pipefail
mkdir -p /etc/kubernetes/pki /etc/kubernetes/manifests
base64 -d > /etc/kubernetes/pki/ca.crt <<< '@CA@'
cat > /etc/kubernetes/bootstrap-kubelet.conf <<'EOF'
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "@SERVER@", certificate-authority: /etc/kubernetes/pki/ca.crt}}]
users: [{name: b, user: {token: @TOKEN@}}]
contexts: [{name: c, context: {cluster: c, user: b}}]
current-context: c
EOF
cat > /etc/kubernetes/kubelet.yaml <<'EOF'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}, webhook: {enabled: true}, anonymous: {enabled: false}}
authorization: {mode: Webhook}
clusterDNS: [@DNS@]
clusterDomain: cluster.local
staticPodPath: /etc/kubernetes/manifests
rotateCertificates: true
EOF
cat > /etc/systemd/system/kubelet.service <<'EOF'
[Unit]
After=containerd.service
[Service]
EnvironmentFile=-/etc/default/kubelet
ExecStart=/usr/local/bin/kubelet --config=/etc/kubernetes/kubelet.yaml \
  --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
  --node-labels=apps.openyurt.io/nodepool=@POOL@ $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
EOF
systemctl daemon-reload
systemctl enable --now kubelet
`
