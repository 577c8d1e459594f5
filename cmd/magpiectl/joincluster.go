// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// place is where a machine finds the API server and how it knows it.
type place struct{ url, ca string }

// findServer takes the address from the flag, from what the cluster publishes
// for joining nodes (kubeadm and ACK do), or from the kubeconfig, and refuses
// an address that means something else on another machine.
func findServer(ctx context.Context, e *env, k kubernetes.Interface, flag string) (place, error) {
	cfg, err := e.config()
	if err != nil {
		return place{}, err
	}
	where, err := published(ctx, k)
	if err != nil {
		return place{}, err
	}
	if where.url == "" {
		where.url = cfg.Host
	}
	if flag != "" {
		where.url = flag
	}
	if where.ca == "" {
		if where.ca, err = caOf(cfg); err != nil {
			return place{}, err
		}
	}
	if u, err := url.Parse(where.url); err == nil {
		a, err := netip.ParseAddr(u.Hostname())
		if u.Hostname() == "localhost" || (err == nil && (a.IsLoopback() || a.IsUnspecified())) {
			return place{}, fmt.Errorf("%s is this machine, and every other machine to itself: give --api-server https://ADDRESS:PORT as the new node reaches it", where.url)
		}
	}
	return where, nil
}

// published reads ConfigMap kube-public/cluster-info; the zero place where
// there is none.
func published(ctx context.Context, k kubernetes.Interface) (place, error) {
	cm, err := k.CoreV1().ConfigMaps("kube-public").Get(ctx, "cluster-info", metav1.GetOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return place{}, nil
	}
	if err != nil {
		return place{}, fmt.Errorf("get ConfigMap kube-public/cluster-info: %w", err)
	}
	config, err := clientcmd.Load([]byte(cm.Data["kubeconfig"]))
	if err != nil {
		return place{}, fmt.Errorf("read ConfigMap kube-public/cluster-info: %w", err)
	}
	for _, c := range config.Clusters {
		return place{url: c.Server, ca: string(c.CertificateAuthorityData)}, nil
	}
	return place{}, nil
}

func caOf(cfg *rest.Config) (string, error) {
	if len(cfg.CAData) > 0 {
		return string(cfg.CAData), nil
	}
	if cfg.CAFile == "" {
		return "", errors.New("the kubeconfig names no certificate authority: a node could not tell its API server from an imposter")
	}
	b, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return "", fmt.Errorf("read certificate authority: %w", err)
	}
	return string(b), nil
}

// clusterID is what a cluster has for life: the UID of its first namespace.
func clusterID(ctx context.Context, k kubernetes.Interface) (string, error) {
	ns, err := k.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("get namespace kube-system: %w", err)
	}
	return string(ns.UID), nil
}

func serverMinor(k kubernetes.Interface) (int, error) {
	v, err := k.Discovery().ServerVersion()
	if err != nil {
		return 0, fmt.Errorf("ask the API server's version: %w", err)
	}
	minor, err := strconv.Atoi(strings.TrimRight(v.Minor, "+"))
	if err != nil {
		return 0, fmt.Errorf("the API server's version is %s: %w", v, err)
	}
	return minor, nil
}

// clusterDNS returns the addresses of the flag, else of the DNS Service. A
// node without would start pods that resolve nothing, so none is an error.
func clusterDNS(ctx context.Context, k kubernetes.Interface, flag []string) ([]netip.Addr, error) {
	if len(flag) == 0 {
		list, err := k.CoreV1().Services(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "k8s-app=kube-dns"})
		if err != nil {
			return nil, fmt.Errorf("list DNS services: %w", err)
		}
		for _, s := range list.Items {
			if s.Spec.ClusterIP != "None" {
				flag = append(flag, s.Spec.ClusterIPs...)
			}
		}
	}
	if len(flag) == 0 {
		return nil, errors.New("there is no Service with label k8s-app=kube-dns in kube-system: give --cluster-dns ADDRESS")
	}
	var out []netip.Addr
	for _, s := range flag {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("--cluster-dns: %w", err)
		}
		out = append(out, a)
	}
	return out, nil
}

// poolTypeOf returns join.Edge or join.Cloud; OpenYurt's types are Edge, Cloud
// and none, and a pool without one is an edge pool.
func poolTypeOf(pool map[string]any) string {
	kind, _, _ := unstructured.NestedString(pool, "spec", "type") // absent and ill-typed mean the default
	return orEdge(strings.ToLower(kind))
}
