// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"strings"
	"testing"
	"time"
)

// lostCall is longer than one call that is lost and asked again: a question to a
// CoreDNS pod that goes, or, while nothing is pinned, a packet to a far site.
const lostCall = 1500 * time.Millisecond

// TestHubOffAndOn points kube-proxy and CoreDNS at the API server and back, as a
// user does. Without the hub the annotations have no effect; a client that asks
// all the time is answered all the time, or at the second try.
func TestHubOffAndOn(t *testing.T) {
	const node, name, replaced = "b-1", "e2e-switched", 30 * time.Second
	settle(t)
	prepareHomes(t)
	client := newPod(t, node)
	bring(t, node)
	ip := newService(t, name, "type: NodePort, selector: {app: home}", topologyKeys(byPool), `nodeport.openyurt.io/listen: "shop-a"`)
	port := kubectl(t, "get", "service", name, "-o", "jsonpath={.spec.ports[0].nodePort}")
	tcp, dns := "tcp/"+ip+":80", "name/"+name+".default.svc.cluster.local"
	client.want(t, replaced, tcp, home(node))
	client.want(t, forgotten, dns, ip)
	opens(t, node, port, false)
	asks := client.beats(t, tcp, dns)
	t.Cleanup(func() { ctl(t, "hub", "enable") })

	begin := time.Now()
	t.Logf("magpiectl hub disable:\n%s", ctl(t, "hub", "disable"))
	t.Logf("it took %.0f s", time.Since(begin).Seconds())
	if out, err := try(context.Background(), ctlVerb(t, "hub", "status")...); err == nil || strings.Count(out, "from the API server") != 3 {
		t.Errorf("hub status: %v\n%s", err, out)
	}
	if out := ctl(t, "service", "default/"+name); !strings.Contains(out, "WOULD") {
		t.Errorf("magpiectl service does not say that nothing is filtered:\n%s", out)
	}
	client.want(t, replaced, tcp, homes(workers()...)...)
	opens(t, node, port, true)

	begin = time.Now()
	t.Logf("magpiectl hub enable:\n%s", ctl(t, "hub", "enable"))
	t.Logf("it took %.0f s", time.Since(begin).Seconds())
	client.want(t, replaced, tcp, home(node))
	opens(t, node, port, false)
	if out := ctl(t, "hub", "status"); strings.Contains(out, "API server") {
		t.Errorf("hub status:\n%s", out)
	}
	if out := ctl(t, "service", "default/"+name); strings.Contains(out, "WOULD") || !strings.Contains(out, "shop-a") {
		t.Errorf("magpiectl service:\n%s", out)
	}
	for _, r := range asks.end(t) {
		t.Logf("%s: asked %d times, %d times in vain; gaps: %v", r.What, r.Asked, r.Failed, r.Gaps)
		for _, g := range r.Gaps {
			if g.To.Sub(g.From) < lostCall {
				continue
			}
			t.Errorf("%s: nobody answered for %v", r.What, g)
		}
	}
	settle(t)
}
