// SPDX-License-Identifier: Apache-2.0

package lab

import "strings"

// coreDNSManifests are the usual ones for an edge cluster: a Deployment in the
// cloud and a DaemonSet on edge nodes, behind one Service that keeps questions
// in the pool of who asks, so that a site that is alone has its own answers.
// Names outside the cluster are not served: the lab has no world DNS.
func coreDNSManifests() string {
	pod := strings.NewReplacer("IMAGE", CoreDNSImage).Replace(coreDNSPod)
	return strings.NewReplacer("      POD\n", pod, "DNSIP", dnsIP).Replace(coreDNS)
}

const coreDNS = `apiVersion: v1
kind: ServiceAccount
metadata: {name: coredns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:coredns"}
rules:
- {apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:coredns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:coredns"}
subjects: [{kind: ServiceAccount, name: coredns, namespace: kube-system}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: coredns, namespace: kube-system}
data:
  Corefile: |
    .:53 {
        errors
        health {
            lameduck 5s
        }
        ready
        kubernetes cluster.local in-addr.arpa ip6.arpa {
            pods insecure
            fallthrough in-addr.arpa ip6.arpa
            ttl 30
        }
        cache 30
        reload
        loadbalance
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  replicas: 2
  # Two replicas that may not share a machine, on two machines: one has to go
  # before another comes.
  strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      POD
      # In the cloud, and never both on one machine: a node that is rebooted must
      # not take the whole cluster's names along.
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms:
            - matchExpressions: [{key: apps.openyurt.io/nodepool, operator: In, values: [cloud]}]
        podAntiAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
          - {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {k8s-app: kube-dns}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: coredns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec:
  # A site with one node has names while it is replaced.
  updateStrategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  selector: {matchLabels: {k8s-app: kube-dns, at: edge}}
  template:
    metadata: {labels: {k8s-app: kube-dns, at: edge}}
    spec:
      POD
      nodeSelector: {openyurt.io/is-edge-worker: "true"}
---
apiVersion: v1
kind: Service
metadata:
  name: kube-dns
  namespace: kube-system
  labels: {k8s-app: kube-dns}
  annotations: {openyurt.io/topologyKeys: openyurt.io/nodepool}
spec:
  clusterIP: DNSIP
  ipFamilyPolicy: PreferDualStack
  selector: {k8s-app: kube-dns}
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
`

const coreDNSPod = `      serviceAccountName: coredns
      priorityClassName: system-cluster-critical
      dnsPolicy: Default
      tolerations: [{operator: Exists}]
      containers:
      - name: coredns
        image: IMAGE
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        ports: [{name: dns, containerPort: 53, protocol: UDP}, {name: dns-tcp, containerPort: 53}]
        readinessProbe: {httpGet: {path: /ready, port: 8181}, periodSeconds: 2}
        livenessProbe: {httpGet: {path: /health, port: 8080}, initialDelaySeconds: 60}
        volumeMounts: [{name: config, mountPath: /etc/coredns, readOnly: true}]
      volumes: [{name: config, configMap: {name: coredns}}]
`
