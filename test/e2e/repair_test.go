// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// repairTime is how soon whatever is deleted or changed must be back.
const repairTime = time.Second

// TestRepair deletes or changes one owned object of each kind on a gateway,
// whose kernel has them all, and waits for it to be as it was.
func TestRepair(t *testing.T) {
	const node = "cloud-1"
	p := newPod(t, node)
	host := strings.TrimSpace(on(t, node, "ip -o route get "+p.ip+" | sed -E 's/.* dev (\\S+).*/\\1/'"))
	for _, c := range []struct{ name, harm, shows string }{
		{"overlay route", "ip route del $(ip route show proto 201 | head -1 | cut -d' ' -f1)", "ip route show proto 201"},
		{"overlay neighbour", "ip neigh del $(ip neigh show dev mag-vxlan nud permanent | head -1 | cut -d' ' -f1) dev mag-vxlan", "ip neigh show dev mag-vxlan nud permanent"},
		{"forwarding entry", "bridge fdb del $(bridge fdb show dev mag-vxlan | head -1 | cut -d' ' -f1) dev mag-vxlan self", "bridge fdb show dev mag-vxlan"},
		{"changed forwarding entry", "bridge fdb replace $(bridge fdb show dev mag-vxlan | head -1 | cut -d' ' -f1) dev mag-vxlan dst 10.0.99.99 self permanent", "bridge fdb show dev mag-vxlan"},
		{"overlay device", "ip link del mag-vxlan", "ip -br link show dev mag-vxlan; ip route show proto 201; bridge fdb show dev mag-vxlan"},
		{"overlay device's MTU", "ip link set mag-vxlan mtu 1300", "ip -o link show dev mag-vxlan | grep -o 'mtu [0-9]*'"},
		{"overlay device's address", "ip addr flush dev mag-vxlan scope global", "ip -br -4 addr show dev mag-vxlan"},
		{"link route", "ip route del $(ip route show proto 203 | head -1 | cut -d' ' -f1)", "ip route show proto 203"},
		{"link device", "ip link del mag-wg0", "ip -br -4 addr show dev mag-wg0; ip route show proto 203"},
		{"pod route", "ip route del " + p.ip, "ip route show proto 202 | grep " + p.ip},
		{"pod neighbour", "ip neigh del " + p.ip + " dev " + host, "ip neigh show " + p.ip + " nud permanent"},
		{"pod device", "ip link del " + host, "ip -br link show dev " + host + " | cut -d@ -f1; ip route show proto 202 | grep " + p.ip},
		{"firewall table", "nft delete table inet magpie-cni", "nft list table inet magpie-cni"},
		{"firewall chain", "nft flush table inet magpie-mesh", "nft list table inet magpie-mesh"},
		{"firewall rule", "nft delete rule inet magpie-mesh forward handle $(nft -a list chain inet magpie-mesh forward | grep -o 'handle [0-9]*' | tail -1 | cut -d' ' -f2)", "nft list table inet magpie-mesh"},
		{"foreign rule in our table", "nft add rule inet magpie-mesh forward counter", "nft list table inet magpie-mesh"},
		{"accept rule", "iptables -D FORWARD 1", "iptables -S FORWARD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := on(t, node, c.shows)
			took := repaired(t, node, c.harm, c.shows, before)
			t.Logf("back after %v", took.Round(10*time.Millisecond))
		})
	}
	t.Run("pod still connected", func(t *testing.T) {
		gapWhile(t, newPod(t, "cloud-2"), p, func() {})
	})
}

// repaired harms the node and waits, on the node itself so that starting
// processes is not measured, until the listing is as before.
func repaired(t *testing.T, node, harm, shows, before string) time.Duration {
	t.Helper()
	script := fmt.Sprintf(`
show() { %s; }
%s || { echo HARM FAILED; exit 1; }
start=$(date +%%s%%N)
for i in $(seq 1 300); do
  show > /run/e2e.after 2>&1
  if cmp -s /run/e2e.before /run/e2e.after; then echo $(( ($(date +%%s%%N) - start) / 1000000 )); exit 0; fi
  sleep 0.02
done
diff /run/e2e.before /run/e2e.after; exit 1`, shows, harm)
	on(t, node, "cat > /run/e2e.before <<'END'\n"+before+"END")
	var ms int
	out := on(t, node, script)
	if _, err := fmt.Sscan(strings.TrimSpace(out), &ms); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Duration(ms) * time.Millisecond
	if took > repairTime {
		t.Errorf("took %v", took)
	}
	return took
}

// TestForeignObjectsStay puts objects of others beside ours and lets the agent
// repair something: they must all be there afterwards.
func TestForeignObjectsStay(t *testing.T) {
	const node = "a-2"
	on(t, node, `
ip link add foreign0 type bridge && ip link set foreign0 up && ip addr add 192.0.2.1/24 dev foreign0
ip route add 198.18.0.0/15 dev foreign0 proto 186
ip route add 10.42.250.0/24 dev foreign0
ip rule add priority 777 from 192.0.2.0/24 lookup 777
nft add table inet foreign && nft add chain inet foreign c
iptables -I FORWARD -d 192.0.2.9 -j DROP
ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:07 dev foreign0 nud permanent`)
	t.Cleanup(func() {
		on(t, node, `ip rule del priority 777; ip link del foreign0; nft delete table inet foreign; iptables -D FORWARD -d 192.0.2.9 -j DROP`)
	})
	list := "ip addr show dev foreign0 | grep 'inet '; ip route show dev foreign0; ip rule show priority 777; " +
		"nft list table inet foreign; iptables -S FORWARD | grep 192.0.2.9; ip neigh show dev foreign0 nud permanent"
	before := on(t, node, list)
	on(t, node, "ip link del mag-vxlan")
	within(t, 10*time.Second, func() error {
		if !strings.Contains(on(t, node, "ip -br link"), "mag-vxlan ") {
			return errors.New("mag-vxlan is not back")
		}
		return nil
	})
	restartAgent(t, node)
	if after := on(t, node, list); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}
