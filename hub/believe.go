// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A control plane that does not hear of a node calls all of its pods not ready
// after 40 seconds. When the line is back, that guess is the first thing a site
// is told about itself, and it would leave its Services without endpoints until
// kubelets have spoken. So it is not believed at once.
// Source: kubernetes pkg/controller/nodelifecycle, MarkPodsNotReady.

const (
	// doubt is how long after the control plane has heard of the node again a
	// guess may still be standing: a kubelet asks for its pods again after half
	// a minute at most, and twice that at random.
	doubt = time.Minute
	// lineDoubt is how long after the line is back the own Node may be as before:
	// its watch goes on from where it was, and may say so before it says more.
	lineDoubt = 15 * time.Second
	// doubtEvery is how often what is not believed is looked at again.
	doubtEvery = 5 * time.Second
)

// believe returns a copy of an object in which endpoints of the own pool that
// would only now be not ready are as they were; nil if there are none, or if the
// control plane knows what it says. s.mu is held.
func (s *Store) believe(was, now Object) Object {
	if was == nil || was.GetUID() != now.GetUID() {
		return nil
	}
	switch now := now.(type) {
	case *discoveryv1.EndpointSlice:
		if before, ok := was.(*discoveryv1.EndpointSlice); ok && s.guessing() {
			return s.believeSlice(before, now)
		}
	case *corev1.Endpoints: //nolint:staticcheck // old clients read Endpoints
		if before, ok := was.(*corev1.Endpoints); ok && s.guessing() { //nolint:staticcheck // as above
			return s.believeEndpoints(before, now)
		}
	}
	return nil
}

func (s *Store) believeSlice(was, now *discoveryv1.EndpointSlice) Object {
	var out *discoveryv1.EndpointSlice
	for i, e := range now.Endpoints {
		if isTrue(e.Conditions.Ready, true) || isTrue(e.Conditions.Terminating, false) || !s.near(e.NodeName) {
			continue
		}
		j := slices.IndexFunc(was.Endpoints, func(b discoveryv1.Endpoint) bool { return sameTarget(b, e) })
		if j < 0 || !isTrue(was.Endpoints[j].Conditions.Ready, true) {
			continue
		}
		if out == nil {
			out = now.DeepCopy()
		}
		out.Endpoints[i].Conditions = was.Endpoints[j].Conditions
	}
	if out == nil {
		return nil // and no Object that holds a nil
	}
	return out
}

// believeEndpoints is believeSlice for the old kind, which lists those that are
// not ready apart and does not say which of them end.
func (s *Store) believeEndpoints(was, now *corev1.Endpoints) Object { //nolint:staticcheck // old clients read Endpoints
	ready := map[string]types.UID{}
	for _, sub := range was.Subsets {
		for _, a := range sub.Addresses {
			ready[a.IP] = podOf(a)
		}
	}
	believed := func(a corev1.EndpointAddress) bool {
		uid, ok := ready[a.IP]
		return ok && uid == podOf(a) && s.near(a.NodeName)
	}
	if !slices.ContainsFunc(now.Subsets, func(sub corev1.EndpointSubset) bool { //nolint:staticcheck // as above
		return slices.ContainsFunc(sub.NotReadyAddresses, believed)
	}) {
		return nil
	}
	out := now.DeepCopy()
	for i := range out.Subsets {
		sub := &out.Subsets[i]
		for _, a := range sub.NotReadyAddresses {
			if believed(a) {
				sub.Addresses = append(sub.Addresses, a)
			}
		}
		sub.NotReadyAddresses = slices.DeleteFunc(sub.NotReadyAddresses, believed)
		slices.SortFunc(sub.Addresses, func(a, b corev1.EndpointAddress) int { return strings.Compare(a.IP, b.IP) })
	}
	return out
}

// podOf is the UID of the pod at an address, "" if it is none.
func podOf(a corev1.EndpointAddress) types.UID {
	if a.TargetRef == nil {
		return ""
	}
	return a.TargetRef.UID
}

// guessing reports whether what the control plane says of pods here may be what
// it thought while it did not hear of them.
func (s *Store) guessing() bool {
	now, back, nodes := s.o.Now(), s.line.returned(), s.shelves[Nodes]
	switch {
	case now.Sub(back) < lineDoubt:
		return true
	case now.Sub(back) < doubt && nodes.heard.Before(back):
		return true // the kinds come back one by one, this one not yet
	}
	e := nodes.objects[key{name: s.o.Node}]
	if e == nil {
		return false
	}
	node, ok := e.truth.(*corev1.Node)
	if !ok {
		return false
	}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionUnknown || now.Sub(c.LastTransitionTime.Time) < doubt
		}
	}
	return false
}

// near reports whether a node is this one, or of its pool: most likely that one
// was cut off together with this one.
func (s *Store) near(node *string) bool {
	switch {
	case node == nil:
		return false
	case *node == s.o.Node:
		return true
	}
	return s.place.Pool != "" && s.place.PoolOf(*node) == s.place.Pool
}

// doubted sees to it that what is not believed is looked at again.
func (s *Store) doubted() {
	if !s.doubting {
		s.doubting = true
		time.AfterFunc(doubtEvery, s.reconsider)
	}
}

// reconsider believes what the control plane still says when it must know.
func (s *Store) reconsider() {
	s.mu.Lock()
	defer s.unlock()
	s.doubting = false
	for _, k := range []Kind{EndpointSlices, Endpoints} {
		s.reconsiderAll(s.shelves[k])
	}
}

func (s *Store) reconsiderAll(sh *shelf) {
	for _, k := range slices.SortedFunc(maps.Keys(sh.objects), key.compare) {
		e := sh.objects[k]
		switch {
		case e.said == nil:
		case s.guessing() || !s.line.online():
			s.doubted()
		default:
			s.o.Log.Info("endpoints that were ready before the line was lost are not", "kind", sh.kind.Resource, "name", k)
			s.put(sh, e.said)
			sh.soil()
		}
	}
}

func isTrue(b *bool, otherwise bool) bool {
	if b == nil {
		return otherwise
	}
	return *b
}

// sameTarget reports whether two endpoints are the same pod at the same address.
func sameTarget(a, b discoveryv1.Endpoint) bool {
	if !slices.Equal(a.Addresses, b.Addresses) || (a.TargetRef == nil) != (b.TargetRef == nil) {
		return false
	}
	return a.TargetRef == nil || a.TargetRef.UID == b.TargetRef.UID
}
