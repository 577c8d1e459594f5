// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
)

// All of this runs with Store.mu held.

// put takes one true object over.
func (s *Store) put(sh *shelf, o Object) {
	k := keyOf(o)
	e := sh.objects[k]
	if e == nil {
		e = &entry{}
		sh.objects[k] = e
	}
	was := e.truth
	e.said = nil
	if believed := s.believe(was, o); believed != nil {
		e.said, o = o, believed
		s.doubted()
	}
	e.truth, e.plain = o, false
	if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
		s.unlink(was)
		s.link(slice)
	}
	s.show(sh, e)
	if svc, ok := o.(*corev1.Service); ok {
		s.moved = true
		s.reached(was, svc)
	}
}

// drop forgets an object.
func (s *Store) drop(sh *shelf, k key) {
	e := sh.objects[k]
	if e == nil {
		return
	}
	s.unlink(e.truth)
	e.truth, e.plain = nil, false
	s.show(sh, e)
	delete(sh.objects, k)
	if sh.kind == Services {
		s.moved = true
		s.followers(k)
	}
}

// link and unlink keep the index of EndpointSlices by Service.
func (s *Store) link(slice *discoveryv1.EndpointSlice) {
	svc, ok := serviceOf(slice)
	if !ok {
		return
	}
	if s.slices[svc] == nil {
		s.slices[svc] = map[key]struct{}{}
	}
	s.slices[svc][keyOf(slice)] = struct{}{}
}

func (s *Store) unlink(o Object) {
	slice, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return
	}
	svc, _ := serviceOf(slice)
	delete(s.slices[svc], keyOf(slice))
	if len(s.slices[svc]) == 0 {
		delete(s.slices, svc)
	}
}

// serviceOf returns the Service that a slice belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) (key, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return key{slice.Namespace, name}, name != ""
}

// reached looks at a Service that has come or changed: does it say anything
// else about its endpoints than before?
func (s *Store) reached(was Object, svc *corev1.Service) {
	reach, note := topology.ReachOf(svc)
	before, ok := was.(*corev1.Service)
	reachBefore, noteBefore := topology.ReachAnywhere, note
	if ok {
		reachBefore, noteBefore = topology.ReachOf(before)
	}
	if !ok || reach != reachBefore {
		s.followers(keyOf(svc))
	}
	if note != nil && s.o.Note != nil && (!ok || noteBefore == nil || noteBefore.Text != note.Text) {
		s.tell(svc, *note)
	}
}

// tell hands a note out unless it was just now.
func (s *Store) tell(svc *corev1.Service, n plan.Note) {
	what, now := string(svc.UID)+"\n"+n.Text, s.o.Now()
	if at, ok := s.told[what]; ok && now.Sub(at) < tellAgain {
		return
	}
	if len(s.told) >= toldMost {
		clear(s.told)
	}
	s.told[what] = now
	s.notes = append(s.notes, noted{svc, n})
}

// followers shows the endpoints of a Service anew.
func (s *Store) followers(svc key) {
	sh := s.shelves[EndpointSlices]
	for _, k := range slices.SortedFunc(maps.Keys(s.slices[svc]), key.compare) {
		s.show(sh, sh.objects[k])
	}
	if e := s.shelves[Endpoints].objects[svc]; e != nil {
		s.show(s.shelves[Endpoints], e)
	}
}

// show compares what is shown of an object with what should be.
func (s *Store) show(sh *shelf, e *entry) {
	if !sh.isReady {
		return
	}
	now := s.filter(e.truth)
	was := e.shown.Object
	switch {
	case now == nil && was == nil:
	case e.plain && now == e.truth: // as it was, and no filter concerns it
	case was == nil:
		s.emit(sh, e, Added, now)
	case now == nil:
		s.emit(sh, e, Deleted, was)
	case was.GetUID() != now.GetUID(): // another one of that name, while nobody looked
		s.emit(sh, e, Deleted, was)
		s.emit(sh, e, Added, now)
	case same(was, now): // but share with the new truth, not with the old
		e.shown.Object = at(now, was.GetResourceVersion())
		sh.list = nil
	default:
		s.emit(sh, e, Modified, now)
	}
	e.plain = now != nil && now == e.truth
}

// emit makes an event.
func (s *Store) emit(sh *shelf, e *entry, t EventType, o Object) {
	s.version++
	now := Item{Object: at(o, format(s.version)), Version: s.version}
	event := Event{Type: t, Item: now, Was: e.shown.Object, Version: s.version}
	if t == Deleted {
		now = Item{}
	}
	sh.shown += visible(now) - visible(e.shown)
	e.shown, sh.list = now, nil
	sh.journal.add(event, max(s.o.Window, len(sh.objects)))
}

func visible(i Item) int {
	if i.Object == nil {
		return 0
	}
	return 1
}

// settle opens the kinds for which enough is known. What is shown first has
// one version: nobody can have watched it come.
func (s *Store) settle() {
	for _, k := range Kinds() {
		sh := s.shelves[k]
		if sh.isReady || !s.decidable(sh) {
			continue
		}
		s.version++
		for _, e := range sh.objects {
			if now := s.filter(e.truth); now != nil {
				e.shown = Item{Object: at(now, format(s.version)), Version: s.version}
				e.plain = now == e.truth
				sh.shown++
			}
		}
		sh.isReady, sh.journal.floor = true, s.version
		close(sh.ready)
	}
}

// decidable reports whether it can be said what this node sees of a kind.
func (s *Store) decidable(sh *shelf) bool {
	return sh.known && (!sh.kind.Namespaced || s.placed && s.shelves[Services].known)
}

// filter returns what this node sees of an object: the object itself, a copy
// with less in it, or nil.
func (s *Store) filter(o Object) Object {
	switch o := o.(type) {
	case *corev1.Service:
		return topology.Fence(o, s.place.Pool)
	case *discoveryv1.EndpointSlice:
		svc, ok := serviceOf(o)
		if !ok {
			return o // made by hand, for nobody's Service
		}
		if reach, ok := s.reach(svc); ok {
			return topology.Pin(o, reach, s.place)
		}
	case *corev1.Endpoints: //nolint:staticcheck // old clients read Endpoints
		if reach, ok := s.reach(keyOf(o)); ok {
			return topology.PinEndpoints(o, reach, s.place)
		}
	case *corev1.Node, *corev1.Namespace:
		return o
	}
	return nil
}

// reach returns how far clients of a Service may reach; false if there is no
// such Service: unknown is not open.
func (s *Store) reach(svc key) (topology.Reach, bool) {
	e := s.shelves[Services].objects[svc]
	if e == nil {
		return "", false
	}
	truth, ok := e.truth.(*corev1.Service)
	if !ok {
		return "", false
	}
	reach, _ := topology.ReachOf(truth)
	return reach, true
}
