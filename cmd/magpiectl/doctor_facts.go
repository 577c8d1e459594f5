// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/walk"
	"github.com/magpie-edge/magpie/nodepool"
	"github.com/magpie-edge/magpie/plan"
)

// crdKind is the kind of kinds.
var crdKind = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// examinee gathers what the doctor looks at. What may not be read, or is not
// there, is a check that cannot be made; only a server that does not answer at
// all is an error.
func examinee(ctx context.Context, e *env, k kubernetes.Interface, d dynamic.Interface) (doctor.Patient, error) {
	p := doctor.Patient{Now: e.now(), Denied: map[string]string{}}
	fs, err := gather(ctx, k, d)
	gathered := err == nil
	switch {
	case gathered:
		if err = fill(&p, e, fs); err == nil {
			p.Tunnel, err = tunnels(ctx, e, k, fs)
		}
		if refused(err) {
			p.Denied["O&M tunnel"], err = err.Error(), nil
		}
	case noSuchKind(err):
		err = nil
	case apierrors.IsForbidden(err):
		for _, c := range doctor.Checks() {
			p.Denied[c.Name()] = err.Error()
		}
		err = nil
	}
	if err != nil {
		return p, err
	}
	var g errgroup.Group
	denied := make(chan [2]string, 10)
	read := func(check string, f func() error) {
		g.Go(func() error {
			err := f()
			if refused(err) {
				denied <- [2]string{check, err.Error()}
				return nil
			}
			return err
		})
	}
	read("kinds installed", func() (err error) { p.CRDs, err = kinds(ctx, d); return err })
	read("manager leads", func() (err error) { p.Lease, err = lease(ctx, k); return err })
	read("agent on each node", func() (err error) { p.Agents, err = pods(ctx, k, agentLabels); return err })
	read("kube-proxy", func() (err error) { p.Proxies, err = pods(ctx, k, "k8s-app=kube-proxy"); return err })
	read("cluster DNS", func() (err error) { p.DNS, err = dnsReady(ctx, k); return err })
	read("service ranges", func() (err error) { p.ServiceRanges, err = serviceRanges(ctx, k); return err })
	if gathered {
		read("hub", func() (err error) { p.Services, err = services(ctx, k, d, fs); return err })
	}
	err = g.Wait()
	close(denied)
	for x := range denied {
		p.Denied[x[0]] = x[1]
	}
	return p, err
}

// refused tells an answer of the API server from no answer.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}

// fill takes over what the facts say.
func fill(p *doctor.Patient, e *env, fs facts) error {
	r, err := fs.status(e)
	if err != nil {
		return err
	}
	settings, err := fs.settings()
	if err != nil {
		return err
	}
	p.Status, p.Reports, p.PodRanges, p.MTU = &r, fs.reports, settings.ClusterCIDRs, settings.MTU
	p.Addresses = map[string][]netip.Addr{}
	for _, n := range fs.nodes {
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil {
				p.Addresses[n.Name] = append(p.Addresses[n.Name], ip)
			}
		}
	}
	if p.Reports == nil {
		p.Reports = fs.reports[:0:0]
	}
	v, _, err := fs.view(e)
	if err != nil {
		return err
	}
	p.Notes, err = asked(fs, v, settings.VNI)
	return err
}

// asked asks the planners of the manager, and those of the agents for one node
// of each domain that is a gateway and one that is none: the others of a domain
// note the same.
func asked(fs facts, v fleet.View, vni int) ([]plan.Note, error) {
	in := fs.cluster()
	var out []plan.Note
	add := func(notes []plan.Note) {
		for _, n := range notes {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	gateways, err := nodepool.Gateways(in)
	if err != nil {
		return nil, err
	}
	add(gateways.Notes)
	sliced, err := nodepool.Slices(in, vni)
	if err != nil {
		return nil, err
	}
	add(sliced.Notes)
	for _, one := range walk.Views(samples(v), underlayMTU) {
		_, notes, err := walk.Parts(one)
		if err != nil {
			return nil, fmt.Errorf("plan node %s: %w", one.Self.Node, err)
		}
		add(notes)
	}
	return out, nil
}

// samples keeps of each domain its gateways and one other node.
func samples(v fleet.View) fleet.View {
	v.Domains = slices.Clone(v.Domains)
	for i, d := range v.Domains {
		other := ""
		v.Domains[i].Nodes = slices.DeleteFunc(slices.Clone(d.Nodes), func(n fleet.Node) bool {
			if _, gateway := d.Gateway(n.Name); gateway {
				return false
			}
			other = cmp.Or(other, n.Name)
			return n.Name != other
		})
	}
	return v
}

// cluster is what the manager would read.
func (f facts) cluster() fleet.Cluster {
	out := fleet.Cluster{RavenConfig: f.raven}
	for i := range f.nodes {
		out.Nodes = append(out.Nodes, &f.nodes[i])
	}
	for i := range f.pools {
		out.Pools = append(out.Pools, &f.pools[i])
	}
	for i := range f.gateways {
		out.Gateways = append(out.Gateways, &f.gateways[i])
	}
	for i := range f.reports {
		out.Reports = append(out.Reports, &f.reports[i])
	}
	for i := range f.slices {
		out.Slices = append(out.Slices, &f.slices[i])
	}
	return out
}

// kinds says of each CRD of ours whether it is established.
func kinds(ctx context.Context, d dynamic.Interface) (map[string]bool, error) {
	out := map[string]bool{}
	for _, kind := range []schema.GroupVersionResource{slicesKind, reportsKind, gatewaysKind, poolsKind} {
		name := kind.Resource + "." + kind.Group
		u, err := d.Resource(crdKind).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			out[name] = false
			continue
		}
		if err != nil {
			return nil, err
		}
		out[name] = established(u)
	}
	return out, nil
}

func established(u *unstructured.Unstructured) bool {
	conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	return slices.ContainsFunc(conditions, func(c any) bool {
		m, _ := c.(map[string]any)
		return m["type"] == "Established" && m["status"] == "True"
	})
}

// lease returns the manager's, in whatever namespace it was installed. With
// several the one renewed last counts; without any it was never taken.
func lease(ctx context.Context, k kubernetes.Interface) (*doctor.Lease, error) {
	list, err := k.CoordinationV1().Leases("").List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=magpie-manager"})
	if err != nil {
		return nil, err
	}
	out := &doctor.Lease{}
	for _, l := range list.Items {
		if l.Spec.RenewTime == nil || !l.Spec.RenewTime.After(out.Renewed) {
			continue
		}
		out = &doctor.Lease{Renewed: l.Spec.RenewTime.Time}
		if l.Spec.HolderIdentity != nil {
			out.Holder = *l.Spec.HolderIdentity
		}
		if l.Spec.LeaseDurationSeconds != nil {
			out.Lasts = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
		}
	}
	return out, nil
}

func pods(ctx context.Context, k kubernetes.Interface, labels string) ([]corev1.Pod, error) {
	out := []corev1.Pod{}
	opt := metav1.ListOptions{LabelSelector: labels, Limit: pageSize}
	for {
		page, err := k.CoreV1().Pods("").List(ctx, opt)
		if err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if opt.Continue = page.Continue; opt.Continue == "" {
			return out, nil
		}
	}
}

// dnsReady counts the ready endpoints of the cluster's DNS; nil without one.
func dnsReady(ctx context.Context, k kubernetes.Interface) (*int, error) {
	_, err := k.CoreV1().Services("kube-system").Get(ctx, "kube-dns", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, err
	}
	list, err := k.DiscoveryV1().EndpointSlices("kube-system").List(ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=kube-dns",
	})
	if err != nil {
		return nil, err
	}
	ready := 0
	for _, s := range list.Items {
		for _, ep := range s.Endpoints {
			if ep.Conditions.Ready == nil || *ep.Conditions.Ready {
				ready += len(ep.Addresses)
			}
		}
	}
	return &ready, nil
}

// serviceRanges are the cluster's; clusters before 1.33 do not say.
func serviceRanges(ctx context.Context, k kubernetes.Interface) ([]netip.Prefix, error) {
	list, err := k.NetworkingV1().ServiceCIDRs().List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, c := range list.Items {
		texts = append(texts, strings.Join(c.Spec.CIDRs, ","))
	}
	return prefixes(strings.FieldsFunc(strings.Join(texts, ","), func(r rune) bool { return r == ',' }))
}
