// SPDX-License-Identifier: Apache-2.0

package world_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/lab/world"
)

// TestKernelFaults breaks each kind of thing, sees it, heals it.
func TestKernelFaults(t *testing.T) {
	lab := newWorld(t)
	listen(t, lab, world.Outside, world.OutsideIP, 9000)
	cloud, _ := world.FindHost("cloud-1")
	listen(t, lab, "cloud-1", cloud.IP, 9002)
	far := world.OutsideIP + ":9000"
	apply := func(faults ...world.Fault) {
		t.Helper()
		if err := world.ApplyFaults(t.Context(), lab, faults); err != nil {
			t.Fatal(err)
		}
	}
	answered := func(name, to string, size int) bool {
		t.Helper()
		out, _ := in(t, lab, name, "head -c "+strconv.Itoa(size)+" /dev/zero | tr '\\0' x | timeout 2 socat -b 9000 -t 0.5 - UDP4:"+to+" 2>/dev/null")
		return out != ""
	}
	// heals asks for ten seconds: on a busy machine the far end, which starts a
	// process for each question, answers after the half second of one.
	heals := func(name, to string, size int) bool {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
			if answered(name, to, size) {
				return true
			}
		}
		return false
	}
	for _, c := range []struct {
		fault world.Fault
		site  string
		size  int
	}{
		{world.Fault{Kind: "cut", Site: "shop-a"}, "a-1", 10},
		{world.Fault{Kind: "loss", Site: "shop-b", Value: 1000}, "b-1", 10},
		{world.Fault{Kind: "block-udp", Site: "plant"}, "c-1", 10},
		{world.Fault{Kind: "black-hole", Site: "plant", Value: 1000}, "c-1", 1200},
	} {
		t.Run(c.fault.Kind, func(t *testing.T) {
			apply(c.fault)
			if answered(c.site, far, c.size) {
				t.Errorf("%s: still answered", c.fault)
			}
			apply()
			if !heals(c.site, far, c.size) {
				t.Errorf("%s: not healed", c.fault)
			}
		})
	}
	t.Run("rebind-nat", func(t *testing.T) {
		before := seenAs(t, lab, "a-1", 4500, far)
		apply(world.Fault{Kind: "rebind-nat", Site: "shop-a", Value: 1})
		if err := world.Rebind(t.Context(), lab, "shop-a"); err != nil {
			t.Fatal(err)
		}
		if after := seenAs(t, lab, "a-1", 4500, far); after == before || !strings.HasPrefix(after, "198.51.100.2:3") {
			t.Errorf("mapping was %s, is %s, want a port from 30000", before, after)
		}
		apply()
	})
	t.Run("shrink-mtu", func(t *testing.T) {
		apply(world.Fault{Kind: "shrink-mtu", Site: "shop-a", Value: 1300})
		if got := must(t, lab, "shop-a-gw", "cat /sys/class/net/wan/mtu"); got != "1300" {
			t.Errorf("MTU %s", got)
		}
		apply()
		if got := must(t, lab, "shop-a-gw", "cat /sys/class/net/wan/mtu"); got != "1500" {
			t.Errorf("healed MTU %s", got)
		}
	})
	t.Run("delay", func(t *testing.T) {
		ask := func() time.Duration {
			t.Helper()
			begin := time.Now() // socat ends three seconds after the answer, or after none
			if got := must(t, lab, "a-1", "echo hi | timeout 9 socat -t 3 - UDP4:"+far); !strings.HasPrefix(got, "198.51.100.2") {
				t.Fatalf("answer %q", got)
			}
			return time.Since(begin)
		}
		// The median of three keeps a busy machine out of it.
		median := func() time.Duration {
			all := []time.Duration{ask(), ask(), ask()}
			slices.Sort(all)
			return all[1]
		}
		before := median()
		apply(world.Fault{Kind: "delay", Site: "shop-a", Value: 200, Jitter: 50})
		if took := median() - before; took < 350*time.Millisecond || took > 800*time.Millisecond {
			t.Errorf("the way there and back takes %v more, want 400 to 500 ms", took)
		}
		if !heals("c-1", far, 10) {
			t.Error("another site is cut off")
		}
		apply(world.Fault{Kind: "delay", Site: "shop-a", Value: 1, Loss: 1000})
		if answered("a-1", far, 10) {
			t.Error("a line that loses everything answered")
		}
		apply()
		if took := median() - before; took > 300*time.Millisecond {
			t.Errorf("healed, it still takes %v more", took)
		}
		if left := must(t, lab, world.Internet, "ip rule | grep -v 'lookup \\(local\\|main\\|default\\)'; ls /sys/class/net | grep '[.]'; true"); left != "" {
			t.Errorf("left after healing: %s", left)
		}
	})
	t.Run("api-only", func(t *testing.T) {
		apply(world.Fault{Kind: "api-only", Site: "shop-a", Host: "a-2"})
		if answered("a-2", far, 10) {
			t.Error("a-2 is answered from the internet")
		}
		if !heals("a-1", far, 10) {
			t.Error("its neighbour is not")
		}
		apply()
		if !heals("a-2", far, 10) {
			t.Error("not healed")
		}
	})
	t.Run("private-line", func(t *testing.T) {
		if answered("c-1", cloud.IP+":9002", 10) {
			t.Error("the VPC answers before the line is up")
		}
		apply(world.Fault{Kind: "private-line"})
		if !heals("c-1", cloud.IP+":9002", 10) {
			t.Error("no answer over the line")
		}
		apply()
		if answered("c-1", cloud.IP+":9002", 10) {
			t.Error("the VPC answers after the line went down")
		}
	})
}
