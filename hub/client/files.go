// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"net/netip"

	"github.com/magpie-edge/magpie/api"
)

// Names of the files in api.DirHub.
const (
	FileCA      = "ca.crt"
	FileHost    = "host.kubeconfig"
	FilePod     = "pod.kubeconfig"
	FileCoreDNS = "coredns.conf"
)

// Mount is where callers in containers have api.DirHub.
const Mount = "/etc/magpie-hub"

// token is where a pod has that of its account.
const token = "/var/run/secrets/kubernetes.io/serviceaccount/token"

// File is one file for callers.
type File struct {
	Name, Text string
}

// Files returns the files, those that others name first: a caller that finds
// one finds all that it needs.
func Files(authority string) []File {
	return []File{
		{FileCA, authority},
		{FileHost, kubeconfig(api.HubLoopback)},
		{FilePod, kubeconfig(api.HubAddress)},
		{FileCoreDNS, "# Of the kubernetes plugin: read through the hub of this node.\n" +
			"kubeconfig " + Mount + "/" + FilePod + "\n"},
	}
}

// URL is that of the hub at an address of the node.
func URL(addr string) string {
	return "https://" + netip.AddrPortFrom(netip.MustParseAddr(addr), api.PortHub).String()
}

// kubeconfig names the authority relative to itself, so that it is good
// wherever the directory is mounted.
func kubeconfig(addr string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: hub
  cluster:
    server: %s
    certificate-authority: %s
users:
- name: pod
  user:
    tokenFile: %s
contexts:
- name: hub
  context: {cluster: hub, user: pod}
current-context: hub
`, URL(addr), FileCA, token)
}
