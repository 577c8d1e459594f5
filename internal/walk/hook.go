// SPDX-License-Identifier: Apache-2.0

package walk

import "fmt"

// outcome is what the chains of one hook did.
type outcome struct {
	verdict action // actAccept, actDrop, actMasquerade or actDNAT
	where   string // "inet magpie-cni postrouting"
	why     string // the rule
}

// run sends the packet through every chain of a hook in the order of their
// priorities. A drop is final; an accept ends its own chain only, as in the
// kernel.
func (fw firewall) run(hook string, s *state) (outcome, error) {
	var nat outcome
	for _, c := range fw.chains {
		if c.hook != hook {
			continue
		}
		o, err := c.run(s, 0)
		if err != nil {
			return outcome{}, err
		}
		if o.verdict == actNone || o.verdict == actReturn {
			o = outcome{verdict: c.policy, where: c.where(), why: "policy " + string(c.policy)}
		}
		if o.verdict == actDrop {
			return o, nil
		}
		if o.verdict == actMasquerade || o.verdict == actDNAT {
			nat = o
		}
	}
	if nat.verdict != actNone {
		return nat, nil
	}
	return outcome{verdict: actAccept}, nil
}

func (c *chain) where() string {
	return "table " + c.table.family + " " + c.table.name + " chain " + c.name
}

// jumpsMax is the kernel's limit of nested jumps.
// Source: NFT_JUMP_STACK_SIZE in include/net/netfilter/nf_tables.h.
const jumpsMax = 16

func (c *chain) run(s *state, depth int) (outcome, error) {
	if depth > jumpsMax {
		return outcome{}, fmt.Errorf("%s: more than %d nested jumps", c.where(), jumpsMax)
	}
	for _, r := range c.rules {
		if !r.hits(s) || r.do == actNone {
			continue
		}
		if r.do != actJump && r.do != actGoto {
			return outcome{verdict: r.do, where: c.where(), why: r.text}, nil
		}
		to, ok := c.table.chains[r.target]
		if !ok {
			return outcome{}, fmt.Errorf("%s: no chain %s", c.where(), r.target)
		}
		o, err := to.run(s, depth+1)
		if err != nil {
			return outcome{}, err
		}
		if o.verdict == actNone || o.verdict == actReturn {
			if r.do == actGoto {
				return outcome{}, nil
			}
			continue
		}
		return o, nil
	}
	return outcome{}, nil
}

func (r rule) hits(s *state) bool {
	for _, m := range r.matches {
		if !m(s) {
			return false
		}
	}
	return true
}
