// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// proxyConfig is kube-proxy's. The least period between two rounds is what
// may not be 0, which means a second.
const proxyConfig = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: %s
hostnameOverride: %s
clientConnection: {kubeconfig: %s, contentType: application/vnd.kubernetes.protobuf}
nftables: {minSyncPeriod: 1ms, syncPeriod: 1h}
conntrack: {maxPerCore: 0}
`

// startProxy runs kube-proxy as a client of whom cfg names.
func (h *host) startProxy(ctx context.Context, cfg *rest.Config) error {
	exe, err := their("kube-proxy")
	if err != nil {
		return err
	}
	access, config := filepath.Join(h.dir, "proxy.kubeconfig"), filepath.Join(h.dir, "proxy.yaml")
	if err := kubeconfig(cfg, access); err != nil {
		return err
	}
	text := fmt.Sprintf(proxyConfig, podRange, h.name, access)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write config of kube-proxy: %w", err)
	}
	return h.run(ctx, "kube-proxy", []string{exe, "--config=" + config}, nil)
}

// corefile is CoreDNS's, with what matters here of the usual one.
const corefile = `cluster.local:1053 {
    bind 127.0.0.1
    ready 127.0.0.1:8181
    kubernetes cluster.local {
        kubeconfig %s
    }
}
`

// startDNS runs CoreDNS and waits until it has read everything.
func (h *host) startDNS(ctx context.Context, cfg *rest.Config) error {
	exe, err := their("coredns")
	if err != nil {
		return err
	}
	access, path := filepath.Join(h.dir, "dns.kubeconfig"), filepath.Join(h.dir, "Corefile")
	if err := kubeconfig(cfg, access); err != nil {
		return err
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, corefile, access), 0o600); err != nil {
		return fmt.Errorf("write Corefile: %w", err)
	}
	if err := h.run(ctx, "coredns", []string{exe, "-conf", path}, nil); err != nil {
		return err
	}
	c := &http.Client{Transport: &http.Transport{DialContext: h.direct.Dial, DisableKeepAlives: true}}
	return until(ctx, "CoreDNS is ready", func() error { return ok(ctx, c, "http://127.0.0.1:8181/ready") })
}

// startIngress runs the informers of an ingress controller until ctx ends.
// Controllers of that kind read JSON: client-go's default.
func startIngress(ctx context.Context, cfg *rest.Config) error {
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("make client: %w", err)
	}
	f := informers.NewSharedInformerFactory(c, 0)
	f.Core().V1().Services().Informer()
	f.Discovery().V1().EndpointSlices().Informer()
	f.Start(ctx.Done())
	for kind, synced := range f.WaitForCacheSync(ctx.Done()) {
		if !synced {
			return fmt.Errorf("the ingress controller's %s are not read: %w", kind, ctx.Err())
		}
	}
	return nil
}

// ready reports whether Services and EndpointSlices can be listed.
func ready(ctx context.Context, c *http.Client, cfg *rest.Config) error {
	for _, path := range []string{"/api/v1/services?limit=1", "/apis/discovery.k8s.io/v1/endpointslices?limit=1"} {
		if err := ok(ctx, c, cfg.Host+path); err != nil {
			return err
		}
	}
	return nil
}

func ok(ctx context.Context, c *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := c.Do(r)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}
