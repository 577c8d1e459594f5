// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/test/lab/world"
)

// chart is the product's chart in the repository.
func (l *Lab) chart() string { return filepath.Join(l.opt.Repo, "charts", "magpie") }

// hasChart says whether there is something to install.
func (l *Lab) hasChart() bool {
	_, err := os.Stat(filepath.Join(l.chart(), "Chart.yaml"))
	return err == nil && !l.opt.Bare
}

// install installs what a user installs: the chart with Helm, the pools and
// the cloud's Gateway with kubectl, after what every cluster has: kube-proxy and
// a DNS.
func (u *upping) install(ctx context.Context) error {
	if !u.hasChart() {
		u.opt.Show.Line("note: no chart installed, nodes will stay NotReady")
		return nil
	}
	if err := u.addons(ctx); err != nil {
		return err
	}
	// Helm installs CRDs that are missing and upgrades none. The chart's hook would
	// do it in a pod, and there may be no node yet.
	crds := filepath.Join(u.chart(), "crds")
	if _, err := u.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", crds); err != nil {
		return err
	}
	values := filepath.Join(u.dir, "values.yaml")
	if err := write(values, u.helmValues(), 0o644); err != nil {
		return err
	}
	cmd := u.Host(ctx, u.Tool("helm"), "upgrade", "--install", "--no-hooks", "magpie", u.chart(), "--namespace=kube-system", "--values="+values)
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("helm upgrade --install magpie (values in %s): %w", values, err)
	}
	// The chart's CRDs are served a moment after they are written.
	return poll(ctx, 30*time.Second, func() error { return u.apply(ctx, domainManifests()) })
}

// addons applies what the lab's cluster has before the product, unless it is
// there: `magpiectl hub enable` changes it, and that must last.
func (u *upping) addons(ctx context.Context) error {
	for path, manifests := range map[string]string{
		"/apis/apps/v1/namespaces/kube-system/daemonsets/kube-proxy": kubeProxyManifests(),
		"/api/v1/namespaces/kube-system/services/kube-dns":           coreDNSManifests(),
	} {
		if _, err := u.get(ctx, path); err == nil {
			continue
		}
		if err := u.apply(ctx, manifests); err != nil {
			return err
		}
	}
	return nil
}

// hub points kube-proxy and CoreDNS at the hubs, with the command that a user
// runs.
func (u *upping) hub(ctx context.Context) error {
	if !u.hasChart() {
		return nil
	}
	cmd := u.Host(ctx, u.product("magpiectl"), "hub", "enable")
	out, err := output(cmd)
	if werr := write(filepath.Join(u.dir, "logs", "hub-enable.log"), string(out), 0o644); werr != nil {
		return werr
	}
	if err != nil {
		return fmt.Errorf("magpiectl hub enable: %w", err)
	}
	return nil
}

// helmValues are the values of the lab's release. Everything not said is the
// chart's default, which the lab tests too. The tag says what is in the image,
// so that Helm rolls out a product that was rebuilt.
func (u *upping) helmValues() string {
	cp, _ := world.FindHost(world.ControlPlane)
	return fmt.Sprintf(`image:
  repository: magpie
  tag: %s
  pullPolicy: Never
apiServer:
  host: %s
  port: 6443
network:
  clusterCIDRs: [%s]
hub:
  enabled: true
`, u.productTag(), cp.EIP, strings.ReplaceAll(podCIDRs, ",", ", "))
}

// domainManifests are what a user writes to describe the sites: a pool each,
// and the Gateway of the cloud with its public addresses. Edge Gateways are
// the manager's to make.
func domainManifests() string {
	var b strings.Builder
	for _, pool := range Pools() {
		fmt.Fprintf(&b, `---
apiVersion: apps.openyurt.io/v1beta2
kind: NodePool
metadata: {name: %s}
spec: {type: %s}
`, pool.Name, pool.Type)
	}
	b.WriteString(`---
apiVersion: raven.openyurt.io/v1beta1
kind: Gateway
metadata: {name: gw-cloud}
spec:
  tunnelConfig: {Replicas: 1}
  proxyConfig: {Replicas: 2}
  endpoints:
`)
	for _, h := range world.Hosts() {
		if h.Type == "cloud" {
			fmt.Fprintf(&b, "  - {nodeName: %s, type: tunnel, port: 4500, publicIP: %s, underNAT: false}\n", h.Name, h.EIP)
			fmt.Fprintf(&b, "  - {nodeName: %s, type: proxy, port: 443, publicIP: %s, underNAT: false}\n", h.Name, h.EIP)
		}
	}
	return b.String()
}

// Pool is a NodePool of the lab.
type Pool struct{ Name, Type string }

// Pools of the lab, one a site.
func Pools() []Pool {
	return []Pool{{"cloud", "Cloud"}, {"shop-a", "Edge"}, {"shop-b", "Edge"}, {"plant", "Edge"}}
}

// poolOf is the pool a machine joins.
func poolOf(h world.Host) string {
	if h.Type == "cloud" {
		return "cloud"
	}
	return h.Site
}
