// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Trouble says why nothing on a node can be reached now, in the words of a
// sentence about it: its site is cut off, or it is not Ready. It is "" if
// nothing of that kind is known.
func (r Report) Trouble(node string) string {
	i := slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Name == node })
	if i < 0 {
		return ""
	}
	n := r.Nodes[i]
	var parts []string
	if l, cut := r.cut(n.Domain); cut {
		parts = append(parts, "site "+n.Domain+" is cut off: "+r.unheard(l))
	}
	if !n.Ready {
		parts = append(parts, "node "+node+" is NotReady"+r.since(n.NotReadySince)+": "+n.Reason)
	}
	return strings.Join(parts, "; ")
}

// cut returns the link of an edge domain that is down, if it is.
func (r Report) cut(domain string) (Link, bool) {
	i := slices.IndexFunc(r.Links, func(l Link) bool { return l.Domain == domain && l.State == Down })
	if i < 0 {
		return Link{}, false
	}
	return r.Links[i], true
}

// unheard says who does not hear whom.
func (r Report) unheard(l Link) string {
	if l.LastHeard == nil {
		return l.Gateway + " and " + l.Peer + " have not heard each other since their agents started"
	}
	return l.Gateway + " and " + l.Peer + " do not hear each other" + r.since(l.LastHeard)
}

// since is " for 5m (since 2026-11-22T09:31:12Z)", or nothing.
func (r Report) since(t *time.Time) string {
	if t == nil {
		return ""
	}
	return " for " + Age(r.now.Sub(*t)) + " (since " + t.UTC().Format(time.RFC3339) + ")"
}

// Age prints a duration in its largest unit, as kubectl does: "45s", "12m",
// "7h", "3d".
func Age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours())/24)
}

// agesShown is how many nodes one line names.
const agesShown = 4

// ages is "b-1 for 5m, b-2 for 2h and 3 more".
func (r Report) ages(nodes []NotReady) string {
	var parts []string
	for _, n := range nodes[:min(agesShown, len(nodes))] {
		if n.Since == nil {
			parts = append(parts, n.Node+" (never was)")
			continue
		}
		parts = append(parts, n.Node+" for "+Age(r.now.Sub(*n.Since)))
	}
	s := strings.Join(parts, ", ")
	if more := len(nodes) - agesShown; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// readiness is "yes", "no" or "no, 5m".
func (r Report) readiness(n Node) string {
	if n.NotReadySince == nil {
		return yes(n.Ready)
	}
	return "no, " + Age(r.now.Sub(*n.NotReadySince))
}
