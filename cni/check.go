// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"context"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/magpie-edge/magpie/plan"
)

// check compares the pod with the kernel, the ledger and the previous result.
func (s *Server) check(ctx context.Context, r request) error {
	pod, committed, there := s.cfg.Ledger.Get(r.key)
	if !there || !committed {
		return refuse(types.ErrUnknownContainer, "no ADD is on record for container %s, %s", r.key.Container, r.key.IfName)
	}
	if pod.NetNS != r.netns {
		return refuse(types.ErrInvalidEnvironmentVariables,
			"container %s was added in %s; CNI_NETNS says %s", pod.Container, pod.NetNS, r.netns)
	}
	if len(r.config.PrevResult) == 0 {
		return refuse(types.ErrInvalidNetworkConfig, "CHECK without prevResult; the runtime must pass the result of ADD")
	}
	prev, err := previous(r.config.PrevResult, r.config.CNIVersion)
	if err != nil {
		return refuse(types.ErrDecodingFailure, "the prevResult of CHECK cannot be read").because(err)
	}
	if err := prev.agrees(pod); err != nil {
		return refuse(types.ErrInvalidNetworkConfig, "the prevResult of CHECK does not fit the ledger").because(err)
	}
	view, ok := s.cfg.View()
	if !ok {
		return refuse(types.ErrTryAgainLater, "the magpie agent has not heard of this node yet")
	}
	want := slow(Plan(pod, view)) // the next round brings the rest
	s.gate.RLock()
	have, err := s.cfg.World.Observe(ctx)
	s.gate.RUnlock()
	if err != nil {
		return refuse(types.ErrIOFailure, "the kernel's state cannot be read").because(err)
	}
	if err := faults(pod, have, want); err != nil {
		s.doubt()
		s.cfg.Wake()
		return err
	}
	return nil
}

// faults tells what of the pod is not as it should be. What the kernel has
// beyond the plan is none of CHECK's business.
func faults(pod Pod, have, want plan.Plan) error {
	var words []string
	for _, step := range plan.Diff(have, want) {
		switch step.Op {
		case plan.Add:
			words = append(words, "missing: "+step.Item.String())
		case plan.Change:
			words = append(words, fmt.Sprintf("is: %s, should be: %s", step.Was, step.Item))
		case plan.Remove: // other pods, and the table itself
		}
	}
	if len(words) == 0 {
		return nil
	}
	e := refuse(types.ErrIOFailure, "the network of %s is damaged; the magpie agent repairs it within a second, unless its log says why not", pod.who())
	e.Details = strings.Join(words, "; ")
	return e
}
