// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

func (r *reader) readRules(s *space) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := s.RuleList(family)
		if err != nil {
			return fmt.Errorf("list rules: %w", err)
		}
		for _, rule := range rules {
			if rule.Protocol != r.w.owner.Proto {
				continue
			}
			p := plan.Rule{
				V6: family == unix.AF_INET6, Priority: rule.Priority,
				Mark: rule.Mark, Table: rule.Table,
			}
			p.From, _ = toPrefix(rule.Src)
			p.To, _ = toPrefix(rule.Dst)
			if rule.Mask != nil {
				p.Mask = *rule.Mask
			}
			r.plan.Rules = append(r.plan.Rules, p)
		}
	}
	return nil
}

// writeRule adds or removes a rule.
func (h *realHand) writeRule(p plan.Rule, drop bool) (int, error) {
	rule := netlink.NewRule()
	rule.Family = unix.AF_INET
	if p.V6 {
		rule.Family = unix.AF_INET6
	}
	rule.Priority, rule.Table, rule.Protocol = p.Priority, p.Table, h.owner.Proto
	rule.Src, rule.Dst = ruleNet(p.From), ruleNet(p.To)
	if p.Mark != 0 || p.Mask != 0 {
		rule.Mark, rule.Mask = p.Mark, &p.Mask
	}
	c := h.host.conn
	if drop {
		return removed(c.RuleDel(rule))
	}
	if err := c.RuleAdd(rule); !isThere(err) {
		return wrote(err)
	}
	return 0, nil
}

func ruleNet(p netip.Prefix) *net.IPNet {
	if !p.IsValid() {
		return nil
	}
	return toIPNet(p)
}
