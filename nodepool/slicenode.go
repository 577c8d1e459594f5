// SPDX-License-Identifier: Apache-2.0

package nodepool

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/plan"
)

// sliceNode is the node as its neighbours need it, without its pod CIDRs. What
// Flannel's annotations say is taken as flanneld would take it, so that a node
// that still runs flanneld is reached in the same way.
func sliceNode(n *corev1.Node, p Place, vni int) (v1alpha1.SliceNode, []plan.Note) {
	out := v1alpha1.SliceNode{Name: n.Name, Pool: p.Pool}
	for _, f := range []struct {
		v6                bool
		overwrite, public string
	}{
		{false, api.FlannelPublicIPOverwrite, api.FlannelPublicIP},
		{true, api.FlannelPublicIPv6Overwr, api.FlannelPublicIPv6},
	} {
		if a, ok := vtepAddress(n, f.v6, f.overwrite, f.public); ok {
			out.Addresses = append(out.Addresses, a.String())
		}
	}
	backend := n.Annotations[api.FlannelBackendType]
	if backend == "" {
		return out, nil // it has not published anything yet
	}
	if !strings.EqualFold(backend, "vxlan") {
		return out, []plan.Note{{
			Subject: "node " + n.Name, Code: NoteForeignBackend,
			Text: fmt.Sprintf("the node uses Flannel's backend %q, which the overlay cannot reach: "+
				"set Backend.Type to vxlan in net-conf.json, or move the node to Magpie", backend),
		}}
	}
	var notes []plan.Note
	note := func(x *plan.Note) {
		if x != nil {
			notes = append(notes, *x)
		}
	}
	var why *plan.Note
	out.VTEPMAC, why = vtepMAC(n, api.FlannelBackendData, vni)
	note(why)
	out.VTEPMAC6, why = vtepMAC(n, api.FlannelBackendV6Data, vni)
	note(why)
	return out, notes
}

// vtepAddress is where the node's VTEP of one family listens. What the user
// wrote wins over what the node published, and that over what kubelet says.
func vtepAddress(n *corev1.Node, v6 bool, overwrite, public string) (netip.Addr, bool) {
	texts := []string{n.Annotations[overwrite], n.Annotations[public]}
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			texts = append(texts, a.Address)
		}
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil && a.Unmap().Is6() == v6 {
			return a.Unmap(), true
		}
	}
	return netip.Addr{}, false
}

// vtepMAC reads {"VNI":1,"VtepMAC":"…"}; "" if the node has published none.
func vtepMAC(n *corev1.Node, annotation string, vni int) (string, *plan.Note) {
	text := n.Annotations[annotation]
	if text == "" || text == "null" { // flanneld writes null for a family it has not
		return "", nil
	}
	bad := func(code, format string, args ...any) (string, *plan.Note) {
		return "", &plan.Note{Subject: "node " + n.Name, Code: code, Text: fmt.Sprintf(format, args...)}
	}
	var data struct {
		VNI     *int
		VtepMAC string
	}
	if err := json.Unmarshal([]byte(text), &data); err != nil {
		return bad(NoteBadAnnotation, "annotation %s is not JSON: restart the node's agent or flanneld, which write it", annotation)
	}
	mac := strings.ToLower(data.VtepMAC)
	if !isMAC(mac) {
		return bad(NoteBadAnnotation, "annotation %s has no MAC in VtepMAC: restart the node's agent or flanneld, which write it", annotation)
	}
	if data.VNI != nil && *data.VNI != vni {
		return bad(NoteVNIMismatch, "the node's VNI is %d and ours %d, so neither hears the other: make them equal in net-conf.json and in the chart's values", *data.VNI, vni)
	}
	return mac, nil
}

// isMAC accepts six colon-separated lower-case bytes of a unicast address.
func isMAC(s string) bool {
	if len(s) != 17 || s == "00:00:00:00:00:00" {
		return false
	}
	for i := range len(s) {
		if i%3 == 2 {
			if s[i] != ':' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdef", rune(s[i])) {
			return false
		}
	}
	return !strings.ContainsRune("13579bdf", rune(s[1]))
}

// podCIDRs are what the API server holds, never what the node says elsewhere.
func podCIDRs(n *corev1.Node) []string {
	if len(n.Spec.PodCIDRs) == 0 && n.Spec.PodCIDR != "" {
		return []string{n.Spec.PodCIDR}
	}
	return n.Spec.PodCIDRs
}

// noteOf is a Note about a node or a Gateway.
func noteOf(subject, code, text string) plan.Note {
	return plan.Note{Subject: subject, Code: code, Text: text}
}
