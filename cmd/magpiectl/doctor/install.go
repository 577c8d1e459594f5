// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/cmd/magpiectl/status"
	"github.com/magpie-edge/magpie/internal/health"
)

// crds looks whether our kinds are there.
type crds struct{}

func (crds) Name() string { return "kinds installed" }

func (c crds) Look(p Patient) ([]Finding, string) {
	if p.CRDs == nil {
		return nil, p.skipped(c.Name())
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(p.CRDs)) {
		if !p.CRDs[name] {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil, ""
	}
	return []Finding{find(health.CRDsMissing, everything, "missing or not established: "+strings.Join(missing, ", "),
		"kubectl apply --server-side -f charts/magpie/crds (helm installs them once and never again)")}, ""
}

// manager looks whether one leads: the Lease says so without any right on pods.
type manager struct{}

func (manager) Name() string { return "manager leads" }

func (c manager) Look(p Patient) ([]Finding, string) {
	if p.Lease == nil {
		return nil, p.skipped(c.Name())
	}
	text := ""
	switch age := p.Now.Sub(p.Lease.Renewed); {
	case p.Lease.Renewed.IsZero():
		text = "its Lease magpie-manager has never been taken"
	case p.Lease.Holder == "":
		text = "nobody holds its Lease; the last leader gave it up " + status.Age(age) + " ago"
	case age > p.Lease.Lasts:
		text = fmt.Sprintf("%s led last and has not renewed its Lease for %s", p.Lease.Holder, status.Age(age))
	default:
		return nil, ""
	}
	return []Finding{find(health.ManagerDown, everything, text,
		"kubectl get pods -A -l app.kubernetes.io/name=magpie,app.kubernetes.io/component=manager, then its log")}, ""
}

// agents looks for a ready agent on each node. Nodes that are not Ready are
// passed over: what runs there is not known.
type agents struct{}

func (agents) Name() string { return "agent on each node" }

func (c agents) Look(p Patient) ([]Finding, string) {
	if p.Agents == nil || p.Status == nil {
		return nil, p.skipped(c.Name())
	}
	on := map[string][]corev1.Pod{}
	for _, pod := range p.Agents {
		on[pod.Spec.NodeName] = append(on[pod.Spec.NodeName], pod)
	}
	var out []Finding
	for _, n := range p.Status.Nodes {
		if !n.Ready || slices.ContainsFunc(on[n.Name], podReady) {
			continue
		}
		text, do := "no pod of the agent's DaemonSet is there",
			"do its taints and node selector let it in? kubectl describe daemonset -A -l "+agentLabel
		if pods := on[n.Name]; len(pods) > 0 {
			text = "its pod is not ready: " + podTrouble(pods[0])
			do = "kubectl -n " + pods[0].Namespace + " logs " + pods[0].Name + " --tail 50"
		}
		out = append(out, find(health.AgentMissing, "node "+n.Name, text, do))
	}
	return out, ""
}

const agentLabel = "app.kubernetes.io/component=agent"

func podReady(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// podTrouble says in Kubernetes' words what keeps a pod from being ready.
func podTrouble(pod corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			return strings.TrimSpace(c.State.Waiting.Reason + " " + c.State.Waiting.Message)
		case c.State.Terminated != nil:
			return fmt.Sprintf("it ended with status %d", c.State.Terminated.ExitCode)
		case c.State.Running != nil && !c.Ready:
			return "it runs, and its readiness probe fails"
		}
	}
	return "it is " + strings.ToLower(string(pod.Status.Phase))
}

// versions looks whether the agents are of one version, which they say in their
// reports: what runs counts, not which image was asked for.
type versions struct{}

func (versions) Name() string { return "one version of agents" }

func (c versions) Look(p Patient) ([]Finding, string) {
	if p.Reports == nil {
		return nil, p.skipped(c.Name())
	}
	nodes := map[string][]string{}
	for _, r := range p.Reports {
		if r.Status.Agent != "" {
			nodes[r.Status.Agent] = append(nodes[r.Status.Agent], r.Name)
		}
	}
	if len(nodes) < 2 {
		return nil, ""
	}
	var parts []string
	for _, v := range slices.Sorted(maps.Keys(nodes)) {
		slices.Sort(nodes[v])
		parts = append(parts, fmt.Sprintf("%s on %s", v, few(nodes[v])))
	}
	return []Finding{find(health.AgentVersions, everything, strings.Join(parts, "; "),
		"let the rollout end: kubectl rollout status daemonset -n NAMESPACE magpie-agent")}, ""
}

// few names at most three things and counts the rest.
func few(names []string) string {
	if len(names) <= 4 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
}

// agentWords repeats what agents report to be wrong with their nodes.
type agentWords struct{}

func (agentWords) Name() string { return "what agents report" }

func (c agentWords) Look(p Patient) ([]Finding, string) {
	if p.Reports == nil {
		return nil, p.skipped(c.Name())
	}
	var out []Finding
	for _, r := range p.Reports {
		node := "node " + r.Name
		about := append(p.around(r.Name), node)
		for _, said := range r.Status.Conditions {
			f := noted(said.Code, strings.TrimSpace(node+" "+said.Subject), titled(said.Code, said.Detail), "", about...)
			f.Severity, f.Since = said.Severity, &said.Since.Time
			f.Do = "follow the runbook; the agent's log on " + r.Name + " has the details"
			out = append(out, f)
		}
		for _, said := range r.Status.Notes {
			out = append(out, noted(said.Code, node, said.Text, "", about...))
		}
	}
	return out, ""
}

// titled puts what a condition means before what was seen.
func titled(code, detail string) string {
	i := slices.IndexFunc(known, func(c health.Condition) bool { return string(c.Code) == code })
	if i < 0 || detail == "" {
		return cmp.Or(detail, code)
	}
	return known[i].Title + ": " + detail
}
