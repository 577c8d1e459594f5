// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestTunnelWithoutUDP: the plant's firewall drops UDP, so its link is dead; the
// O&M tunnel is TCP 443 and does not notice.
func TestTunnelWithoutUDP(t *testing.T) {
	prepareSubjects(t)
	p := start(t, "logs", "-f", "--tail=1", subject("c-1"), "-c", "ticks")
	p.next(t, "tick ")
	breaks(t, "block-udp", "plant")
	time.Sleep(5 * time.Second)
	if !p.alive(t) {
		t.Error("a stream that was open stands still")
	}
	if out := kubectl(t, "exec", subject("c-1"), "-c", "web", "--", "echo", "here"); out != "here\n" {
		t.Errorf("exec says %q", out)
	}
}

// TestTunnelNeighbour: a-2 is let out to the API server only, which its kubelet
// needs to know who may do what, and its neighbour a-1 carries its sessions.
func TestTunnelNeighbour(t *testing.T) {
	prepareSubjects(t)
	gatewaysReady(t)
	t.Cleanup(func() {
		within(t, 2*time.Minute, func() error { return healthy(t) })
		gatewaysReady(t)
	})
	breaks(t, "api-only", "a-2")
	cut := time.Now()
	within(t, 3*time.Minute, func() error { // what was open has to be noticed to be dead
		out, err := tryKubectl(t, "exec", subject("a-2"), "-c", "web", "--request-timeout=5s", "--", "hostname")
		if err == nil && strings.TrimSpace(out) != subject("a-2") {
			err = fmt.Errorf("exec says %q", out)
		}
		if err == nil && !strings.Contains(tunnelText(t), "a neighbour at 192.168.1.11") {
			err = errors.New("magpiectl tunnel does not speak of the neighbour")
		}
		return err
	})
	t.Logf("exec works through the neighbour after %.0f s", time.Since(cut).Seconds())
	p := start(t, "logs", "-f", "--tail=1", subject("a-2"), "-c", "ticks")
	p.next(t, "tick ")
	time.Sleep(3 * time.Second)
	if !p.alive(t) {
		t.Errorf("logs through the neighbour: %s", p.errs)
	}
	if out, _ := try(t.Context(), ctlVerb(t, "doctor", "-o", "json")...); !strings.Contains(out, `"tunnel-relayed"`) {
		t.Errorf("magpiectl doctor: %s", out)
	}
}

// tunnelText is what `magpiectl tunnel` says, good or bad.
func tunnelText(t *testing.T) string {
	t.Helper()
	out, _ := try(t.Context(), ctlVerb(t, "tunnel")...)
	return strings.Join(strings.Fields(out), " ")
}

// gateways are the pods of magpie-gateway that are not ending, with their nodes.
func gateways(t *testing.T) map[string]string {
	t.Helper()
	out := kubectl(t, "-n", "kube-system", "get", "pods", "-l", "app.kubernetes.io/component=gateway",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.nodeName} {.metadata.deletionTimestamp}{"\n"}{end}`)
	pods := map[string]string{}
	for line := range strings.Lines(out) {
		if w := strings.Fields(line); len(w) == 2 {
			pods[w[1]] = w[0]
		}
	}
	return pods
}

// gatewaysReady waits until both instances serve and every agent is connected to
// both, as the instances themselves say.
func gatewaysReady(t *testing.T) {
	t.Helper()
	within(t, 2*time.Minute, func() error {
		out, err := tryKubectl(t, "-n", "kube-system", "rollout", "status", "deployment/magpie-gateway", "--timeout=60s")
		if err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
		for node, pod := range gateways(t) {
			out, err := tryKubectl(t, "get", "--raw", "/api/v1/namespaces/kube-system/pods/"+pod+":10296/proxy/sessions")
			if err != nil {
				return err
			}
			for _, n := range workers() {
				if edge := !strings.HasPrefix(n, "cloud"); edge && !strings.Contains(out, `"`+n+`"`) {
					return fmt.Errorf("%s is not connected to the gateway on %s: %s", n, node, out)
				}
			}
		}
		return nil
	})
}

// TestTunnelGatewayKilled kills one of two instances while streams run to every
// site: those on it end at once, the others go on, and new ones work at once.
// exec and a log from the node's proxy say that they broke; logs cannot, see
// docs/reference/entries.md.
func TestTunnelGatewayKilled(t *testing.T) {
	prepareSubjects(t)
	gatewaysReady(t)
	streams := map[string]*process{}
	for range 2 {
		for _, n := range []string{"a-1", "a-2", "b-1", "c-1"} {
			p := start(t, "logs", "-f", "--tail=1", subject(n), "-c", "ticks")
			p.next(t, "tick ")
			streams[fmt.Sprintf("logs %s %d", n, len(streams))] = p
			p = start(t, "exec", subject(n), "-c", "web", "--", "sh", "-c", "while sleep 0.1; do echo tick; done")
			p.next(t, "tick")
			streams[fmt.Sprintf("exec %s %d", n, len(streams))] = p
			p = start(t, "get", "--raw", rawLog(n))
			p.next(t, "tick ")
			streams[fmt.Sprintf("raw log %s %d", n, len(streams))] = p
		}
	}
	on(t, "cloud-1", "kill -9 $(pgrep -x magpie-gateway)")
	t.Cleanup(func() { gatewaysReady(t) })
	killed := time.Now()
	for _, n := range []string{"a-1", "b-1", "c-1"} {
		within(t, 10*time.Second, func() error {
			_, err := tryKubectl(t, "exec", subject(n), "-c", "web", "--request-timeout=5s", "--", "true")
			return err
		})
	}
	t.Logf("exec works at three sites after %.1f s", time.Since(killed).Seconds())
	lost := 0
	for name, p := range streams {
		if p.alive(t) {
			continue
		}
		lost++
		select {
		case err := <-p.done:
			t.Logf("%s ended: %v %s", name, err, p.errs)
			if err == nil && !strings.HasPrefix(name, "logs") {
				t.Errorf("%s says that all is well", name)
			}
		case <-time.After(2 * time.Second):
			t.Errorf("%s neither ends nor goes on", name)
		}
	}
	t.Logf("%d of %d streams were on the instance that was killed", lost, len(streams))
}

// TestTunnelGatewayDrained deletes an instance the polite way, the one that the
// API server dials first: streams on it go on while it drains, and new ones are
// taken by the other.
func TestTunnelGatewayDrained(t *testing.T) {
	prepareSubjects(t)
	gatewaysReady(t)
	var streams []*process
	for _, n := range []string{"a-1", "b-1", "c-1"} {
		p := start(t, "logs", "-f", "--tail=1", subject(n), "-c", "ticks")
		p.next(t, "tick ")
		streams = append(streams, p)
	}
	kubectl(t, "-n", "kube-system", "delete", "pod", gateways(t)["cloud-1"], "--wait=false")
	t.Cleanup(func() { gatewaysReady(t) })
	until := time.Now().Add(8 * time.Second)
	for time.Now().Before(until) {
		for _, n := range []string{"a-1", "b-1", "c-1"} {
			kubectl(t, "exec", subject(n), "-c", "web", "--request-timeout=5s", "--", "true")
		}
	}
	for _, p := range streams {
		if !p.alive(t) {
			t.Errorf("%v did not survive the drain: %s", p.cmd.Args[3:], p.errs)
		}
	}
}

// TestTunnelWebhook lets an admission webhook run at the edge: the API server
// asks a pod of shop-b, which is behind a symmetric NAT.
func TestTunnelWebhook(t *testing.T) {
	const name = "e2e-webhook"
	key, cert := selfSigned(t, name+".default.svc")
	b64 := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	apply(t, strings.NewReplacer("IMAGE", image(t), "CERT", b64(cert), "KEY", b64(key)).Replace(`apiVersion: v1
kind: Secret
metadata: {name: e2e-webhook}
data: {tls.crt: CERT, tls.key: KEY}
---
apiVersion: v1
kind: Pod
metadata: {name: e2e-webhook, labels: {app: e2e-webhook}}
spec:
  nodeName: b-1
  terminationGracePeriodSeconds: 0
  containers:
  - name: webhook
    image: IMAGE
    imagePullPolicy: Never
    args: [webhook, --tls-cert-file=/tls/tls.crt, --tls-private-key-file=/tls/tls.key, --port=8443]
    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
    volumeMounts: [{name: tls, mountPath: /tls}]
  volumes: [{name: tls, secret: {secretName: e2e-webhook}}]
---
apiVersion: v1
kind: Service
metadata: {name: e2e-webhook}
spec: {selector: {app: e2e-webhook}, ports: [{port: 443, targetPort: 8443}]}
`))
	t.Cleanup(func() {
		kubectl(t, "delete", "--ignore-not-found", "--now", "validatingwebhookconfiguration/"+name)
		kubectl(t, "delete", "--ignore-not-found", "--now", "secret/"+name, "pod/"+name, "service/"+name)
	})
	kubectl(t, "wait", "pod/"+name, "--for=condition=Ready", "--timeout=60s")
	apply(t, strings.NewReplacer("CERT", b64(cert)).Replace(`apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: e2e-webhook}
webhooks:
- name: deny.e2e.test
  clientConfig: {service: {name: e2e-webhook, namespace: default, path: /always-deny}, caBundle: CERT}
  rules: [{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE]}]
  objectSelector: {matchLabels: {e2e: deny}}
  sideEffects: None
  failurePolicy: Ignore
  timeoutSeconds: 5
  admissionReviewVersions: [v1]
`))
	// Ignored until the API server knows of it and it answers.
	within(t, 30*time.Second, func() error {
		out, err := withInput(t, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"e2e-denied-","labels":{"e2e":"deny"}}}`, nil, "create", "-f", "-")
		if err == nil || !strings.Contains(out, "denied the request") {
			return fmt.Errorf("the webhook at the edge was not asked: %s %w", out, err)
		}
		return nil
	})
	kubectl(t, "delete", "configmap", "-l", "e2e=deny")
}

// TestTunnelAggregatedAPI moves metrics-server, an API server of its own, to a
// shop: the API server passes requests on to it there.
func TestTunnelAggregatedAPI(t *testing.T) {
	lab(t, "install", "metrics-server")
	move := func(label, value string) {
		t.Helper()
		kubectl(t, "-n", "kube-system", "patch", "deployment", "metrics-server", "--type=json", "-p",
			fmt.Sprintf(`[{"op":"replace","path":"/spec/template/spec/nodeSelector","value":{%q:%q}}]`, label, value))
	}
	move("kubernetes.io/hostname", "a-2")
	t.Cleanup(func() { move("apps.openyurt.io/nodepool", "cloud") })
	kubectl(t, "-n", "kube-system", "rollout", "status", "deployment/metrics-server", "--timeout=90s")
	within(t, time.Minute, func() error {
		out, err := tryKubectl(t, "get", "--raw", "/apis/metrics.k8s.io/v1beta1/nodes")
		if err == nil && !strings.Contains(out, `"name":"b-1"`) {
			err = fmt.Errorf("of b-1 nothing is known: %s", out)
		}
		return err
	})
}

// selfSigned makes a server's key and certificate as PEM.
func selfSigned(t *testing.T, name string) (key, cert []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// TestTunnelRemovedNode deletes a node from the cluster while a stream to it
// runs: it is cut within two seconds, for its certificate names a node that is
// no more. Then the kubelet registers again and all is as before.
func TestTunnelRemovedNode(t *testing.T) {
	const node = "c-1"
	prepareSubjects(t)
	gatewaysReady(t)
	p := start(t, "exec", subject(node), "-c", "web", "--", "sh", "-c", "echo runs; sleep 100")
	p.next(t, "runs")
	t.Cleanup(func() {
		on(t, node, "systemctl restart kubelet")
		within(t, 2*time.Minute, func() error { return healthy(t) })
		gatewaysReady(t)
	})
	begin := time.Now()
	kubectl(t, "delete", "node", node, "--wait=false")
	p.ended(t, 10*time.Second)
	took := time.Since(begin)
	t.Logf("cut after %.2f s", took.Seconds())
	if took > 2*time.Second {
		t.Errorf("the stream lived on for %v", took)
	}
}
