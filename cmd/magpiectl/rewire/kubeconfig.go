// SPDX-License-Identifier: Apache-2.0

package rewire

import (
	"errors"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ErrNoToken says that the hub would not know the caller.
var ErrNoToken = errors.New("its user has no token, and the hub knows callers by token only: give kube-proxy a ServiceAccount's")

// Kubeconfig returns a kubeconfig that shows the same token to the hub at url,
// whose authority is the file ca.
func Kubeconfig(old, url, ca string) (string, error) {
	c, err := clientcmd.Load([]byte(old))
	if err != nil {
		return "", fmt.Errorf("read kubeconfig: %w", err)
	}
	current := c.Contexts[c.CurrentContext]
	if current == nil {
		return "", fmt.Errorf("its current context %q is not there", c.CurrentContext)
	}
	user := c.AuthInfos[current.AuthInfo]
	if user == nil || user.TokenFile == "" && user.Token == "" && user.Exec == nil {
		return "", ErrNoToken
	}
	// A certificate would not be looked at, and may be all that the API server
	// knows the caller by.
	only := clientcmdapi.NewConfig()
	only.CurrentContext = "hub"
	only.Contexts["hub"] = &clientcmdapi.Context{Cluster: "hub", AuthInfo: current.AuthInfo, Namespace: current.Namespace}
	only.Clusters["hub"] = &clientcmdapi.Cluster{Server: url, CertificateAuthority: ca}
	only.AuthInfos[current.AuthInfo] = &clientcmdapi.AuthInfo{TokenFile: user.TokenFile, Token: user.Token, Exec: user.Exec}
	out, err := clientcmd.Write(*only)
	if err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return string(out), nil
}
