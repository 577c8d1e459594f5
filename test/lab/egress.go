// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// tunnelHost is a name in the certificate of magpie-gateway. On the control
// plane it has the addresses of both cloud nodes (see hostNames).
const tunnelHost = "magpie-gateway.kube-system"

// egressConfig leads what the API server sends to nodes, pods and services into
// the O&M tunnel, as an operator would whose control plane is his own.
const egressConfig = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      tcp:
        url: https://` + tunnelHost + `:10294
        tlsConfig:
          caBundle: /etc/kubernetes/magpie/gateway-ca.crt
          clientCert: /etc/kubernetes/magpie/kube-apiserver.crt
          clientKey: /etc/kubernetes/magpie/kube-apiserver.key
`

// egress gives the API server the way into the tunnel, once the manager has
// made the tunnel's authority and a gateway is ready, and starts it again if
// that is new to it: it reads these files only when it starts.
func (u *upping) egress(ctx context.Context) error {
	if !u.hasChart() {
		return nil
	}
	var bundle string
	err := poll(ctx, 90*time.Second, func() (err error) {
		if bundle, err = u.tunnelBundle(ctx); err != nil {
			return err
		}
		return u.gatewayReady(ctx)
	})
	if err != nil {
		return fmt.Errorf("%w (see `magpie-lab kubectl -n kube-system get pods -l app.kubernetes.io/component=gateway`)", err)
	}
	dir := machine.Spec{Name: world.ControlPlane, Lab: u.dir}.Dir()
	news, err := u.caller(ctx, filepath.Join(dir, "etc/kubernetes/magpie"), bundle)
	if err != nil {
		return err
	}
	for file, text := range map[string]string{
		"etc/kubernetes/egress-selector.yaml": egressConfig,
		"etc/default/kube-apiserver":          "APISERVER_EXTRA_ARGS=--egress-selector-config-file=/etc/kubernetes/egress-selector.yaml\n",
	} {
		at := filepath.Join(dir, file)
		if b, err := os.ReadFile(at); err == nil && string(b) == text {
			continue
		}
		news = true
		if err := write(at, text, 0o600); err != nil {
			return err
		}
	}
	if !news {
		return nil
	}
	if _, err := u.Exec(ctx, world.ControlPlane, "systemctl", "restart", "kube-apiserver"); err != nil {
		return err
	}
	return poll(ctx, 90*time.Second, func() error {
		_, err := u.get(ctx, "/readyz")
		return err
	})
}

// caller makes the API server's certificate for the gateway, as an operator
// does, unless there is one of the present authority.
func (u *upping) caller(ctx context.Context, dir, bundle string) (made bool, err error) {
	if b, err := os.ReadFile(filepath.Join(dir, "gateway-ca.crt")); err == nil && string(b) == bundle {
		return false, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("make folder: %w", err)
	}
	if _, err := output(u.Host(ctx, u.product("magpiectl"), "tunnel", "caller", "kube-apiserver", "--dir", dir)); err != nil {
		return false, fmt.Errorf("magpiectl tunnel caller: %w", err)
	}
	return true, nil
}

// tunnelBundle is what all ends of the tunnel trust.
func (l *Lab) tunnelBundle(ctx context.Context) (string, error) {
	body, err := l.get(ctx, "/api/v1/namespaces/kube-system/configmaps/magpie-tunnel-ca")
	if err != nil {
		return "", err
	}
	var c struct{ Data map[string]string }
	if err := json.Unmarshal(body, &c); err != nil {
		return "", fmt.Errorf("decode authority of the tunnel: %w", err)
	}
	if c.Data["ca.crt"] == "" {
		return "", errors.New("the manager has not made the tunnel's authority")
	}
	return c.Data["ca.crt"], nil
}

// gatewayReady wants every instance: the API server dials them by address.
func (l *Lab) gatewayReady(ctx context.Context) error {
	body, err := l.get(ctx, "/apis/apps/v1/namespaces/kube-system/deployments/magpie-gateway")
	if err != nil {
		return err
	}
	var d struct {
		Spec   struct{ Replicas int }
		Status struct{ ReadyReplicas int }
	}
	if err := json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("decode deployment: %w", err)
	}
	if d.Status.ReadyReplicas < d.Spec.Replicas {
		return fmt.Errorf("%d of %d instances of magpie-gateway are ready", d.Status.ReadyReplicas, d.Spec.Replicas)
	}
	return nil
}
