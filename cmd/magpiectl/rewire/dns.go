// SPDX-License-Identifier: Apache-2.0

package rewire

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/magpie-edge/magpie/hub/client"
)

// CorefileKey is the key of CoreDNS's ConfigMap.
const CorefileKey = "Corefile"

const dnsContainer = "coredns"

// importLine is what a kubernetes block gets. The star makes it a pattern, and
// a pattern that matches nothing is no error. Source: coredns/caddy, doImport.
const importLine = "import " + client.Mount + "/coredns*.conf"

// opened ends the line that CorefileOn has made a block of.
const opened = " { # magpie-hub\n"

// ErrOwnEndpoint says that somebody has already said where the API server is.
var ErrOwnEndpoint = errors.New("its kubernetes block names an API server of its own (endpoint or kubeconfig): take that out first")

// ErrShape says that the Corefile is written in a way that is not known here.
var ErrShape = errors.New("its kubernetes block does not end, or has a comment but no braces")

// ErrNoKubernetes says that there is nothing to change.
var ErrNoKubernetes = errors.New("it has no kubernetes block")

// CorefileOn returns the Corefile that imports where the API server is.
func CorefileOn(corefile string) (string, error) {
	lines := strings.SplitAfter(CorefileOff(corefile), "\n")
	var out []string
	found := false
	depth := 0 // of braces within a kubernetes block; 0 outside
	for _, line := range lines {
		words := strings.Fields(comment(line))
		switch {
		case depth > 0:
			if len(words) > 0 && (words[0] == "endpoint" || words[0] == "kubeconfig") {
				return "", ErrOwnEndpoint
			}
			depth += braces(words)
			out = append(out, line)
		case len(words) == 0 || words[0] != "kubernetes":
			out = append(out, line)
		default:
			found = true
			depth = braces(words)
			indent := line[:strings.Index(line, "kubernetes")]
			if depth > 0 {
				out = append(out, line, indent+"    "+importLine+"\n")
				continue
			}
			if comment(line) != line {
				return "", ErrShape
			}
			// A block of one line becomes one of three; CorefileOff makes it one again.
			bare := strings.TrimRight(line, "\n")
			out = append(out, bare+opened, indent+"    "+importLine+"\n", indent+"}"+line[len(bare):])
		}
	}
	if depth != 0 {
		return "", ErrShape
	}
	if !found {
		return "", ErrNoKubernetes
	}
	return strings.Join(out, ""), nil
}

// CorefileOff takes our lines out, whatever else has changed since.
func CorefileOff(corefile string) string {
	lines := strings.SplitAfter(corefile, "\n")
	for {
		i := slices.IndexFunc(lines, func(l string) bool { return strings.TrimSpace(l) == importLine })
		if i < 0 {
			return strings.Join(lines, "")
		}
		alone := i > 0 && i+1 < len(lines) && strings.HasSuffix(lines[i-1], opened) && strings.TrimSpace(lines[i+1]) == "}"
		if !alone {
			lines = slices.Delete(lines, i, i+1)
			continue
		}
		end := strings.TrimLeft(lines[i+1], " \t")[1:] // a newline, or nothing at the end of the file
		lines[i-1] = strings.TrimSuffix(lines[i-1], opened) + end
		lines = slices.Delete(lines, i, i+2)
	}
}

// CorefileIsOn reports whether the Corefile imports where the API server is.
func CorefileIsOn(corefile string) bool { return CorefileOff(corefile) != corefile }

// comment cuts a line at its comment.
func comment(line string) string {
	before, _, _ := strings.Cut(line, "#")
	return before
}

// braces is how much deeper a line leads. Source: Corefile grammar; a brace is a
// word of its own.
func braces(words []string) int {
	n := 0
	for _, w := range words {
		switch w {
		case "{":
			n++
		case "}":
			n--
		}
	}
	return n
}

// CorefileConfig returns the ConfigMap that a Deployment of CoreDNS mounts; the
// first for which has is true.
func CorefileConfig(deployment *unstructured.Unstructured, has func(name string) bool) (string, error) {
	w := workload{deployment}
	name, err := w.mounted(has)
	if err == nil && name == "" {
		err = fmt.Errorf("%s mounts no ConfigMap with the key %s", w.name(), CorefileKey)
	}
	return name, err
}

// DNSOn returns the Deployment with the folder that the Corefile imports from.
func DNSOn(deployment *unstructured.Unstructured, folder string) (*unstructured.Unstructured, error) {
	out, _, err := DNSOff(deployment)
	if err != nil {
		return nil, err
	}
	return out, workload{out}.mount(dnsContainer, folder, mayBe)
}

// DNSOff returns the Deployment without it, and whether it was there.
func DNSOff(deployment *unstructured.Unstructured) (*unstructured.Unstructured, bool, error) {
	out := deployment.DeepCopy()
	was, err := workload{out}.unmount()
	return out, was, err
}
