// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/plan"
)

// undoing bounds what is done after the caller's own time is over.
const undoing = 30 * time.Second

// lasting returns a context for work that must end well although the caller
// may be gone.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), undoing)
}

// add gives a pod its network: reserve, program, commit.
func (s *Server) add(ctx context.Context, r request) (json.RawMessage, Pod, error) {
	pod, bad := r.pod()
	if bad != nil {
		return nil, pod, bad
	}
	if len(r.config.PrevResult) > 0 && string(r.config.PrevResult) != "null" {
		return nil, pod, refuse(types.ErrInvalidNetworkConfig,
			"magpie makes the pod's interface, so it must be the first plugin of the conflist: remove the plugins before it")
	}
	view, ok := s.cfg.View()
	if !ok {
		return nil, pod, refuse(types.ErrTryAgainLater,
			"the magpie agent has not heard of this node yet; see its log and whether it reaches the API server")
	}
	wish, bad := r.wish(view.Self.PodCIDRs)
	if bad != nil {
		return nil, pod, bad
	}
	if err := s.vacant(pod); err != nil {
		return nil, pod, err
	}
	pod, err := s.cfg.Ledger.Reserve(pod, wish, s.cfg.Now())
	if err != nil {
		return nil, pod, reserveError(err, r.key, view)
	}
	if err := s.program(ctx, pod, view); err != nil {
		return nil, pod, err
	}
	out, err := resultOf(pod, view.PodMTU(), r.config.DNS, r.config.CNIVersion)
	return out, pod, err
}

// vacant refuses what cannot become a pod before anything is reserved.
func (s *Server) vacant(pod Pod) error {
	if have, committed, there := s.cfg.Ledger.Get(pod.Key); there && committed {
		return refuse(types.ErrInvalidEnvironmentVariables,
			"container %s already has %s with %v; the runtime must call DEL before a second ADD", pod.Container, pod.IfName, have.Addrs)
	}
	alive, err := s.cfg.Door.PodSpace(pod.NetNS)
	switch {
	case err != nil:
		return refuse(types.ErrIOFailure, "the pod's network namespace %s cannot be entered", pod.NetNS).because(err)
	case !alive:
		return refuse(types.ErrUnknownContainer, "%s is no network namespace (any more): the container is gone", pod.NetNS)
	}
	if other, port, clash := s.cfg.Ledger.Clash(pod.Key, pod.Ports); clash {
		return refuse(types.ErrTryAgainLater, "hostPort %s belongs to %s until that is deleted", port, other.who())
	}
	return nil
}

func reserveError(err error, key Key, view fleet.View) error {
	switch {
	case errors.Is(err, ErrFull):
		return refuse(types.ErrTryAgainLater,
			"no address is left on node %s (%s); delete pods or give the node a larger pod CIDR", view.Self.Node, list(view.Self.PodCIDRs)).because(err)
	case errors.Is(err, ErrTaken):
		return refuse(types.ErrTryAgainLater, "the asked address is in use").because(err)
	case errors.Is(err, ErrKnown):
		return refuse(types.ErrTryAgainLater, "an earlier ADD of %s was cut short and is being undone", key)
	}
	return refuse(types.ErrIOFailure, "the ledger of addresses cannot be written; is the disk of /var/lib/magpie full or read-only?").because(err)
}

// program writes the pod into the kernel and commits it, or leaves nothing.
func (s *Server) program(ctx context.Context, pod Pod, view fleet.View) error {
	want := Plan(pod, view)
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.touch(pod)
	_, err := s.cfg.World.Apply(ctx, plan.Plan{}, slow(want))
	if err == nil {
		err = s.forgetFlows(ctx, pod)
	}
	if err == nil {
		err = ctx.Err() // nobody waits for the answer any more
	}
	if err == nil {
		err = s.cfg.Ledger.Commit(pod.Key)
	}
	if err == nil {
		return nil
	}
	undone := s.remove(ctx, pod, want)
	// To look for it before would cost every pod more than all other checks.
	if there, _ := s.cfg.Door.PodDevice(pod.NetNS, pod.IfName); there {
		return refuse(types.ErrInvalidEnvironmentVariables,
			"%s in %s exists already: another plugin made it, or an earlier ADD was not followed by DEL", pod.IfName, pod.NetNS).because(errors.Join(err, undone))
	}
	return refuse(types.ErrIOFailure,
		"the network of %s could not be made, and was taken back; the runtime will try again", pod.who()).because(errors.Join(err, undone))
}

// remove takes a pod out of the kernel and then out of the ledger. The caller
// holds the gate.
func (s *Server) remove(ctx context.Context, pod Pod, have plan.Plan) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	if _, err := s.cfg.World.Apply(ctx, Teardown(have), plan.Plan{}); err != nil {
		return fmt.Errorf("remove %s: %w", pod.who(), err)
	}
	if err := s.forgetFlows(ctx, pod); err != nil {
		return err
	}
	return s.cfg.Ledger.Release(pod.Key, s.cfg.Now())
}

// forgetFlows drops the conntrack entries of UDP hostPorts: a client that goes
// on sending would otherwise go on reaching the last owner of the port, or
// nobody. TCP and SCTP connections cannot outlive their pod.
func (s *Server) forgetFlows(ctx context.Context, pod Pod) error {
	for _, p := range pod.Ports {
		if p.Proto != "udp" {
			continue
		}
		var addr netip.Addr // any
		if !p.any() {
			addr = p.HostIP
		}
		if err := s.cfg.Door.ForgetFlows(ctx, p.Proto, addr, p.HostPort); err != nil {
			return fmt.Errorf("forget flows of %s: %w", p, err)
		}
	}
	return nil
}

// del removes a pod. It succeeds if there is nothing to remove, whatever the
// configuration says: the runtime repeats it until it does.
func (s *Server) del(r request) error {
	pod, _, known := s.cfg.Ledger.Get(r.key)
	if !known {
		pod = Pod{Key: r.key, NetNS: r.netns}
	}
	s.gate.RLock()
	defer s.gate.RUnlock()
	defer s.touch(pod)
	if err := s.remove(context.Background(), pod, s.found(pod, known)); err != nil {
		return refuse(types.ErrIOFailure, "the network of %s could not be removed; the runtime will try again", pod.who()).because(err)
	}
	s.release(pod.HostDevice())
	return nil
}

// found is what a DEL removes: the pod's plan or, for one that the ledger does
// not know, the device that its key names.
func (s *Server) found(pod Pod, known bool) plan.Plan {
	if known {
		view, _ := s.cfg.View()
		return Plan(pod, view)
	}
	p := plan.Plan{Devices: []plan.Device{{Name: pod.HostDevice(), Kind: plan.Veth}}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.adopted[pod.HostDevice()]; ok {
		return a.plan
	}
	return p
}

// gc releases every attachment of the network that the runtime does not list,
// as far as possible; what is left in the kernel the repair loop removes.
func (s *Server) gc(ctx context.Context, r request) error {
	if r.config.Valid == nil {
		return refuse(types.ErrInvalidNetworkConfig, "GC without cni.dev/valid-attachments: nothing can be told from it")
	}
	var errs []error
	for _, pod := range slices.Concat(s.cfg.Ledger.Pods(true), s.cfg.Ledger.Pods(false)) {
		valid := slices.Contains(*r.config.Valid, Attachment{pod.Container, pod.IfName})
		if valid || pod.Network != "" && pod.Network != r.config.Name {
			continue
		}
		unlock, err := s.keys.lock(ctx, pod.Key)
		if err != nil {
			return refuse(types.ErrTryAgainLater, "GC was cut short").because(err)
		}
		errs = append(errs, s.del(request{key: pod.Key}))
		unlock()
	}
	s.cfg.Wake()
	return errors.Join(errs...)
}
