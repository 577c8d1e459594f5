// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// place is a kernel under test: the real one in fresh namespaces, or the fake.
type place interface {
	own(o plan.Owner, options ...kernel.OwnOption) reconcile.World[plan.Plan]
	addNS(name string) (path string)
	deleteNS(path string)
	addDevice(name string, addr netip.Prefix)
	deleteDevice(name string)
}

type realPlace struct {
	t    testing.TB
	host *kernel.Host
}

func newReal(tb testing.TB) place {
	tb.Helper()
	return realPlace{tb, newHost(tb, kernel.Options{})}
}

func (r realPlace) own(o plan.Owner, options ...kernel.OwnOption) reconcile.World[plan.Plan] {
	return r.host.Own(o, options...)
}
func (r realPlace) addNS(name string) string { return sandbox.Namespace(r.t, name) }

// deleteNS waits, too: the kernel clears a namespace away when it has time.
func (r realPlace) deleteNS(path string) {
	count := func() int { return strings.Count(sandbox.Run(r.t, "ip -n host -o link"), "\n") }
	before := count()
	sandbox.Run(r.t, "ip netns del "+filepath.Base(path))
	for i := 0; count() == before && i < 200; i++ {
		time.Sleep(10 * time.Millisecond)
	}
}

func (r realPlace) deleteDevice(name string) { sandbox.Run(r.t, "ip -n host link del "+name) }
func (r realPlace) addDevice(name string, addr netip.Prefix) {
	sandbox.Run(r.t, "ip -n host link add "+name+" type veth peer name far-"+name)
	sandbox.Run(r.t, "ip -n host link set far-"+name+" up")
	sandbox.Run(r.t, "ip -n host link set "+name+" up")
	sandbox.Run(r.t, "ip -n host addr add "+addr.String()+" dev "+name)
}

type fakePlace struct{ f *kernel.Fake }

func newFake(testing.TB) place { return fakePlace{kernel.NewFake()} }

func (f fakePlace) own(o plan.Owner, options ...kernel.OwnOption) reconcile.World[plan.Plan] {
	return f.f.Own(o, options...)
}

func (f fakePlace) addNS(name string) string {
	path := "/run/netns/" + name
	f.f.AddNamespace(path)
	return path
}
func (f fakePlace) deleteNS(path string)                     { f.f.DeleteNamespace(path) }
func (f fakePlace) deleteDevice(name string)                 { f.f.DeleteDevice("", name) }
func (f fakePlace) addDevice(name string, addr netip.Prefix) { f.f.AddDevice("", name, addr) }

// places are the two that must agree.
func places() map[string]func(testing.TB) place {
	return map[string]func(testing.TB) place{"fake": newFake, "real": newReal}
}

// TestKernelConformance performs each scenario of testdata on both places and
// compares what each says with the file's "want". A scenario's "script" has
// one command a line:
//
//	need FEATURE            skip on a kernel that cannot have it
//	ns NAME                 make a pod's namespace
//	ns-del NAME             remove it
//	device NAME PREFIX      a device of somebody else's in the host
//	device-del NAME         ip link del
//	apply OWNER FILE        Observe, then Apply towards the plan in FILE
//	blind OWNER FILE        Apply as if nothing were there
//	remove OWNER FILE       Apply as if only FILE were there, towards nothing
//	observe OWNER           print what Observe finds
func TestKernelConformance(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios: %v %v", files, err)
	}
	for _, file := range files {
		for name, open := range places() {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+name, func(t *testing.T) {
				a, err := txtar.ParseFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if len(strings.TrimSpace(string(a.Comment))) < 20 {
					t.Fatal("a scenario begins with the property it shows")
				}
				s := &scenario{t: t, place: open(t), files: map[string]string{}}
				for _, f := range a.Files {
					s.files[f.Name] = string(f.Data)
				}
				for line := range strings.Lines(s.files["script"]) {
					s.do(strings.Fields(line))
				}
				if golden.Updating() && name == "fake" {
					rewrite(t, file, a, s.out.String())
					return
				}
				if diff := cmp.Diff(s.files["want"], s.out.String()); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
			})
		}
	}
}

func rewrite(t *testing.T, file string, a *txtar.Archive, got string) {
	t.Helper()
	for i := range a.Files {
		if a.Files[i].Name == "want" {
			a.Files[i].Data = []byte(got)
		}
	}
	if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
		t.Fatal(err)
	}
}

type scenario struct {
	t      testing.TB
	place  place
	files  map[string]string
	spaces []string
	out    strings.Builder
}

func (s *scenario) world(owner string) reconcile.World[plan.Plan] {
	s.t.Helper()
	o := map[string]plan.Owner{"cni": podOwner, "vxlan": overlayOwner, "mesh": meshOwner, "other": {Name: "other", Proto: 77}}[owner]
	if o.Name == "" {
		s.t.Fatalf("owner %q: not known to this test", owner)
	}
	return s.place.own(o, kernel.WithNamespaces(func() []string { return slices.Clone(s.spaces) }))
}

func (s *scenario) do(w []string) {
	s.t.Helper()
	if len(w) == 0 {
		return
	}
	switch w[0] {
	case "need":
		if _, real := s.place.(realPlace); real {
			kernel.Need(s.t, kernel.Feature(w[1]))
		}
	case "ns":
		s.spaces = append(s.spaces, s.place.addNS(w[1]))
	case "ns-del":
		s.place.deleteNS("/run/netns/" + w[1])
	case "device":
		s.place.addDevice(w[1], netip.MustParsePrefix(w[2]))
	case "device-del":
		s.place.deleteDevice(w[1])
	case "observe":
		fmt.Fprintf(&s.out, "%s has\n%s", w[1], s.observe(w[1]).Text())
	case "apply":
		s.report(w, s.observe(w[1]), parsePlan(s.t, s.files[w[2]]))
	case "blind":
		s.report(w, plan.Plan{}, parsePlan(s.t, s.files[w[2]]))
	case "remove":
		s.report(w, parsePlan(s.t, s.files[w[2]]), plan.Plan{})
	default:
		s.t.Fatalf("command %q: not known to this test", w[0])
	}
}

func (s *scenario) observe(owner string) plan.Plan {
	s.t.Helper()
	p, err := s.world(owner).Observe(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// report prints whether anything was written and which errors there were, as
// words that do not depend on the place.
func (s *scenario) report(w []string, have, want plan.Plan) {
	s.t.Helper()
	n, err := s.world(w[1]).Apply(s.t.Context(), have, want)
	did := "wrote"
	if n == 0 {
		did = "wrote nothing"
	}
	fmt.Fprintf(&s.out, "%s: %s%s\n", strings.Join(w, " "), did, words(err))
	if err != nil {
		s.t.Log(err)
	}
}

func words(err error) string {
	var b strings.Builder
	for _, e := range []error{
		kernel.ErrForeign, kernel.ErrNoNamespace, syscall.EEXIST, syscall.ENODEV, syscall.ENETUNREACH, syscall.ENOENT, syscall.EINVAL,
	} {
		if errors.Is(err, e) {
			b.WriteString("; " + e.Error())
		}
	}
	if err != nil && b.Len() == 0 {
		b.WriteString("; some error")
	}
	return b.String()
}

// TestKernelForgetsSettings: a setting goes with its device. When another owner
// has made a device of that name since, its settings are not ours; and a node
// on which pods come and go does not remember all of them.
func TestKernelForgetsSettings(t *testing.T) {
	const key = "net/ipv4/conf/magx/rp_filter"
	want := parsePlan(t, "device magx ifb mac 02:00:00:00:00:aa mtu 1500\nsysctl "+key+" = 1\n")
	for name, open := range places() {
		t.Run(name, func(t *testing.T) {
			place := open(t)
			ours, theirs := place.own(overlayOwner), place.own(meshOwner)
			become := func(w reconcile.World[plan.Plan], want plan.Plan) (have plan.Plan) {
				t.Helper()
				have, err := w.Observe(t.Context())
				if err == nil {
					_, err = w.Apply(t.Context(), have, want)
				}
				if err == nil {
					have, err = w.Observe(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				return have
			}
			if have := become(ours, want); len(have.Sysctls) != 1 {
				t.Errorf("while the device is there:\n%s", have.Text())
			}
			become(ours, plan.Plan{})
			become(theirs, want)
			if have := become(ours, plan.Plan{}); len(have.Sysctls) != 0 {
				t.Errorf("of another's device:\n%s", have.Text())
			}
		})
	}
}
