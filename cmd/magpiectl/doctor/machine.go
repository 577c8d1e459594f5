// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bufio"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/internal/health"
)

// Machine is one node as it sees itself.
type Machine struct {
	// Name is its host name.
	Name string
	// Files is its file system.
	Files fs.FS
	// Answer is what the agent says at a path of its health port.
	Answer func(path string) (status int, body string, err error)
	// Hub is what the node's hub answers to a list of Services by nobody, if its
	// certificate is of that authority.
	Hub func(authority string) (status int, err error)
}

// MachineChecks are those of a node, in the order in which a person would look.
func MachineChecks() []Check[Machine] {
	return []Check[Machine]{agentAnswers{}, agentSays{}, hubAnswers{}, networkd{}, forwarding{}, cniFirst{}}
}

func (m Machine) subject() string { return "node " + m.Name }

func (m Machine) read(name string) string {
	b, err := fs.ReadFile(m.Files, name)
	if err != nil {
		return ""
	}
	return string(b)
}

// agentAnswers looks whether the agent runs and is ready.
type agentAnswers struct{}

func (agentAnswers) Name() string { return "agent answers" }

func (agentAnswers) Look(m Machine) ([]Finding, string) {
	status, body, err := m.Answer("/readyz")
	switch {
	case err != nil:
		return []Finding{find(health.AgentSilent, m.subject(), err.Error(),
			"is its container running? crictl ps -a --name magpie-agent, then crictl logs")}, ""
	case status != 200:
		return []Finding{find(health.LoopFailing, m.subject(), strings.Join(strings.Fields(body), " "),
			"the text names the loop and the kernel's reason; follow the runbook")}, ""
	}
	return nil, ""
}

// agentSays repeats the agent's own conditions.
type agentSays struct{}

func (agentSays) Name() string { return "agent's conditions" }

func (agentSays) Look(m Machine) ([]Finding, string) {
	status, body, err := m.Answer("/conditions")
	if err != nil || status != 200 {
		return nil, "the agent does not answer"
	}
	var out []Finding
	for line := range strings.Lines(body) {
		// "error loop-failing loop vxlan: title (detail)"
		head, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		words := strings.Fields(head)
		if len(words) < 2 {
			continue
		}
		subject := strings.TrimSpace(m.subject() + " " + strings.Join(words[2:], " "))
		f := noted(words[1], subject, text, "follow the runbook; the agent's log has the details")
		f.Severity = words[0]
		out = append(out, f)
	}
	return out, ""
}

// hubAnswers looks whether the hub listens, as kube-proxy would find it.
type hubAnswers struct{}

func (hubAnswers) Name() string { return "hub answers" }

func (hubAnswers) Look(m Machine) ([]Finding, string) {
	authority := m.read(strings.TrimPrefix(api.DirHub, "/") + "/" + client.FileCA)
	if authority == "" {
		return nil, "the agent serves no hub here"
	}
	status, err := m.Hub(authority)
	text := ""
	switch {
	case err != nil:
		text = err.Error()
	case status != http.StatusUnauthorized:
		text = fmt.Sprintf("it answers %d to nobody, where 401 is right", status)
	default:
		return nil, ""
	}
	return []Finding{find(health.HubDown, m.subject(), text, fmt.Sprintf("who has its port? ss -ltnp 'sport = :%d'", api.PortHub))}, ""
}

// networkd looks whether systemd-networkd leaves routes and rules of others
// alone. It does not by default.
type networkd struct{}

func (networkd) Name() string { return "systemd-networkd" }

func (networkd) Look(m Machine) ([]Finding, string) {
	if _, err := fs.Stat(m.Files, "run/systemd/netif/state"); err != nil {
		return nil, "it does not run here"
	}
	settings := map[string]string{"ManageForeignRoutes": "yes", "ManageForeignRoutingPolicyRules": "yes"}
	for _, file := range dropIns(m, "systemd/networkd.conf") {
		section := ""
		for scan := bufio.NewScanner(strings.NewReader(m.read(file))); scan.Scan(); {
			line := strings.TrimSpace(scan.Text())
			if strings.HasPrefix(line, "[") {
				section = line
			}
			key, value, ok := strings.Cut(line, "=")
			if _, known := settings[strings.TrimSpace(key)]; ok && known && section == "[Network]" {
				settings[strings.TrimSpace(key)] = strings.TrimSpace(value)
			}
		}
	}
	var bad []string
	for _, key := range []string{"ManageForeignRoutes", "ManageForeignRoutingPolicyRules"} {
		if !slices.Contains([]string{"no", "false", "off", "0"}, strings.ToLower(settings[key])) {
			bad = append(bad, key+" is "+settings[key])
		}
	}
	if len(bad) == 0 {
		return nil, ""
	}
	return []Finding{find(health.NetworkdRoutes, m.subject(), strings.Join(bad, " and "),
		"set both to no in [Network] of /etc/systemd/networkd.conf.d/magpie.conf, as the join script does, then systemctl restart systemd-networkd")}, ""
}

// dropIns returns a configuration file and its fragments in the order in which
// systemd reads them: a fragment of the same name in /etc outweighs the others.
// Source: systemd networkd.conf(5).
func dropIns(m Machine, name string) []string {
	out := []string{}
	for _, dir := range []string{"etc", "run", "usr/local/lib", "usr/lib"} {
		if file := path.Join(dir, name); m.read(file) != "" {
			out = append(out, file)
			break
		}
	}
	fragments := map[string]string{}
	for _, dir := range []string{"usr/lib", "usr/local/lib", "run", "etc"} {
		found, _ := fs.Glob(m.Files, path.Join(dir, name+".d", "*.conf"))
		for _, file := range found {
			fragments[path.Base(file)] = file
		}
	}
	names := make([]string, 0, len(fragments))
	for n := range fragments {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		out = append(out, fragments[n])
	}
	return out
}

// forwarding looks whether the kernel forwards packets.
type forwarding struct{}

func (forwarding) Name() string { return "forwarding" }

func (forwarding) Look(m Machine) ([]Finding, string) {
	value := strings.TrimSpace(m.read("proc/sys/net/ipv4/ip_forward"))
	switch value {
	case "":
		return nil, "/proc/sys/net/ipv4/ip_forward cannot be read"
	case "1":
		return nil, ""
	}
	return []Finding{find(health.ForwardingOff, m.subject(), "net.ipv4.ip_forward is "+value,
		"who sets it back? grep -r ip_forward /etc/sysctl.conf /etc/sysctl.d; then sysctl -w net.ipv4.ip_forward=1")}, ""
}

// cniFirst looks whether the container runtime would choose our configuration:
// it takes the first file by name.
type cniFirst struct{}

func (cniFirst) Name() string { return "CNI configuration" }

func (cniFirst) Look(m Machine) ([]Finding, string) {
	const dir = "etc/cni/net.d"
	files, err := fs.ReadDir(m.Files, dir)
	if err != nil {
		return nil, "/" + dir + " cannot be read"
	}
	for _, f := range files { // sorted by name
		switch ext := path.Ext(f.Name()); {
		case ext != ".conf" && ext != ".conflist" && ext != ".json":
		case f.Name() == api.FileCNIConf:
			return nil, ""
		default:
			return []Finding{find(health.CNIShadowed, m.subject(), "/"+dir+"/"+f.Name()+" comes before "+api.FileCNIConf,
				"remove it if its plug-in is gone from this cluster: rm /"+dir+"/"+f.Name())}, ""
		}
	}
	return []Finding{find(health.CNIShadowed, m.subject(), "/"+dir+" has no "+api.FileCNIConf+" and no other",
		"the agent writes it when it is ready: is it running? crictl ps -a --name magpie-agent")}, ""
}
