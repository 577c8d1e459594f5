// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/fleet"
)

// traceEnd is one end of a trace.
type traceEnd struct {
	// Name as given: "default/web-0", "a-1", "10.42.3.5".
	Name string `json:"name"`
	// Node it is on; "" outside the cluster.
	Node string `json:"node"`
	// Addrs are its addresses, best family first.
	Addrs []netip.Addr `json:"addrs"`
	// Host is true for a node itself and for pods in its network.
	Host bool `json:"host"`
}

func (t traceEnd) String() string {
	s := t.Name
	if len(t.Addrs) > 0 && t.Addrs[0].String() != t.Name {
		s += " " + t.Addrs[0].String()
	}
	switch t.Node {
	case "":
		return s + ", no pod or node of ours"
	case t.Name:
		return s + ", a node"
	}
	return s + " on " + t.Node
}

// finder looks up what a person names.
type finder struct {
	env     *env
	views   []fleet.View
	offline bool
}

// end understands a pod, a node or an address.
func (f finder) end(ctx context.Context, name string) (traceEnd, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return f.addr(ctx, a)
	}
	if v, err := viewOf(f.views, name); err == nil {
		return nodeEnd(name, v), nil
	}
	if f.offline {
		return traceEnd{}, fmt.Errorf("%s: %w", name, errOffline)
	}
	namespace, pod, ok := strings.Cut(name, "/")
	if !ok {
		namespace, pod = metav1.NamespaceDefault, name
	}
	k, _, err := f.env.clients()
	if err != nil {
		return traceEnd{}, err
	}
	p, err := k.CoreV1().Pods(namespace).Get(ctx, pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return traceEnd{}, fmt.Errorf("%s is no address, no node in a domain, and namespace %s has no pod %s", name, namespace, pod)
	}
	if err != nil {
		return traceEnd{}, fmt.Errorf("get pod %s: %w", name, err)
	}
	return podEnd(name, p)
}

func nodeEnd(name string, v fleet.View) traceEnd {
	e := traceEnd{Name: name, Node: name, Host: true}
	for _, a := range []netip.Addr{v.Self.Underlay4.Addr, v.Self.Underlay6.Addr} {
		if a.IsValid() {
			e.Addrs = append(e.Addrs, a)
		}
	}
	return e
}

func podEnd(name string, p *corev1.Pod) (traceEnd, error) {
	e := traceEnd{Name: name, Node: p.Spec.NodeName, Host: p.Spec.HostNetwork}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			e.Addrs = append(e.Addrs, a)
		}
	}
	if len(e.Addrs) == 0 {
		return e, fmt.Errorf("pod %s has no address yet: it is %s", name, strings.ToLower(string(p.Status.Phase)))
	}
	return e, nil
}

// addr finds whose an address is: the node whose pod range holds it, or a node.
func (f finder) addr(ctx context.Context, a netip.Addr) (traceEnd, error) {
	e := traceEnd{Name: a.String(), Addrs: []netip.Addr{a}}
	for _, v := range f.views {
		if slices.ContainsFunc(v.Self.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			e.Node = v.Self.Node
			return e, nil
		}
	}
	var owners []string
	for _, v := range f.views {
		if v.Self.Underlay4.Addr == a || v.Self.Underlay6.Addr == a {
			owners = append(owners, v.Self.Node)
		}
	}
	switch {
	case len(owners) > 1:
		return e, fmt.Errorf("%s is the address of several nodes (%s): name the node", a, strings.Join(owners, ", "))
	case len(owners) == 1:
		e.Node, e.Host = owners[0], true
		return e, nil
	case f.offline:
		return e, nil
	}
	return e, f.service(ctx, a)
}

// service refuses a Service's address: which pod answers is kube-proxy's
// choice, packet by packet.
func (f finder) service(ctx context.Context, a netip.Addr) error {
	k, _, err := f.env.clients()
	if err != nil {
		return err
	}
	list, err := k.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	for _, s := range list.Items {
		if slices.Contains(s.Spec.ClusterIPs, a.String()) {
			return fmt.Errorf("%s is Service %s/%s: trace to one of its pods, see kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s",
				a, s.Namespace, s.Name, s.Namespace, s.Name)
		}
	}
	return nil
}

// common picks an address of each end, of one family.
func common(a, b traceEnd, v6 bool) (src, dst netip.Addr, err error) {
	for _, six := range []bool{v6, !v6} {
		i := slices.IndexFunc(a.Addrs, func(x netip.Addr) bool { return x.Is6() == six })
		j := slices.IndexFunc(b.Addrs, func(x netip.Addr) bool { return x.Is6() == six })
		if i >= 0 && j >= 0 {
			return a.Addrs[i], b.Addrs[j], nil
		}
	}
	return src, dst, fmt.Errorf("%s and %s have no address family in common", a.Name, b.Name)
}
