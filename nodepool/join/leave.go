// SPDX-License-Identifier: Apache-2.0

package join

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// LeaveParams are what the leave script of one node needs to know.
type LeaveParams struct {
	// Node is the name of the node, Cluster the UID of kube-system: a script
	// that gets to another machine refuses to run there.
	Node, Cluster string
	// Image and AgentConfig are the agent's image and its agent.yaml, with
	// which its cleanup runs; both empty where the chart is not installed.
	Image, AgentConfig string
	// CNIBinDir and CNIConfDir are the directories the agent has written to.
	CNIBinDir, CNIConfDir string
	// RuntimeEndpoint has a default.
	RuntimeEndpoint string
}

var (
	nodeName  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$`)
	imageForm = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._:/@]*$`)
)

// Validate joins every problem, each with its field and what is accepted.
func (p LeaveParams) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(nodeName.MatchString(p.Node), "node: %q is not the name of a node", p.Node)
	want(uidForm.MatchString(p.Cluster), "cluster: %q is not a UID", p.Cluster)
	want(p.Image == "" || imageForm.MatchString(p.Image), "image: %q is not an image reference", p.Image)
	want(p.Image == "" || path.IsAbs(p.CNIBinDir), "cniBinDir: %q is not an absolute path", p.CNIBinDir)
	want(p.Image == "" || path.IsAbs(p.CNIConfDir), "cniConfDir: %q is not an absolute path", p.CNIConfDir)
	_, err := socket(p.RuntimeEndpoint)
	want(err == nil, "runtime-endpoint: %v", err)
	return errors.Join(errs...)
}

// LeaveScript renders the script that undoes a join on the node itself.
func LeaveScript(p LeaveParams) (string, error) {
	if err := p.Validate(); err != nil {
		return "", fmt.Errorf("render leave script: %w", err)
	}
	runtime, _ := socket(p.RuntimeEndpoint) // validated
	return render("Makes a machine leave the cluster as node "+p.Node+".", []constant{
		{"NODE", p.Node},
		{"CLUSTER", p.Cluster},
		{"IMAGE", reference(p.Image)},
		{"RUNTIME_SOCKET", runtime},
		{"CNI_BIN_DIR", p.CNIBinDir},
		{"CNI_CONF_DIR", p.CNIConfDir},
		{"AGENT_YAML", p.AgentConfig},
	}, "lib", "leave")
}

// reference spells out what a pod's image name leaves out, as kubelet's runtime
// does: containerd knows images by their whole name only.
// Source: github.com/distribution/reference, normalize.go.
func reference(image string) string {
	if image == "" {
		return ""
	}
	host, rest, ok := strings.Cut(image, "/")
	if !ok || (!strings.ContainsAny(host, ".:") && host != "localhost") {
		host, rest = "docker.io", image
		if !strings.Contains(image, "/") {
			rest = "library/" + image
		}
	}
	if last := rest[strings.LastIndex(rest, "/")+1:]; !strings.ContainsAny(last, ":@") {
		rest += ":latest"
	}
	return host + "/" + rest
}
