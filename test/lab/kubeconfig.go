// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/magpie-edge/magpie/test/lab/pki"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// apiServer is how everybody but the control plane itself reaches the API.
func apiServer() string {
	cp, _ := world.FindHost(world.ControlPlane)
	return "https://" + cp.EIP + ":6443"
}

// makePKI makes all keys and certificates of the control plane.
func (l *Lab) makePKI() error {
	dir, now := filepath.Join(l.dir, "pki"), time.Now()
	ca, err := pki.NewCA(dir, "ca", now)
	if err != nil {
		return err
	}
	front, err := pki.NewCA(dir, "front-proxy-ca", now)
	if err != nil {
		return err
	}
	cp, _ := world.FindHost(world.ControlPlane)
	admins := []string{"system:masters"}
	for _, r := range []pki.Request{
		{
			File: "apiserver", Name: "kube-apiserver", Server: true,
			DNS: []string{
				"kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local", "localhost", world.ControlPlane,
			},
			IPs: []string{"10.43.0.1", "fd43::1", cp.IP, cp.IP6, cp.EIP, "127.0.0.1", "::1"},
		},
		{File: "apiserver-kubelet-client", Name: "kube-apiserver-kubelet-client", Groups: admins},
		{File: "admin", Name: "kubernetes-admin", Groups: admins},
		{File: "controller-manager", Name: "system:kube-controller-manager"},
		{File: "scheduler", Name: "system:kube-scheduler"},
	} {
		if err := ca.Issue(r, now); err != nil {
			return err
		}
	}
	if err := front.Issue(pki.Request{File: "front-proxy-client", Name: "front-proxy-client"}, now); err != nil {
		return err
	}
	return pki.SigningKey(dir, "sa")
}

// kubeconfig renders a kubeconfig with everything inside, for a certificate of
// makePKI.
func (l *Lab) kubeconfig(user, server string) (string, error) {
	data := map[string]string{}
	for _, f := range []string{"ca.crt", user + ".crt", user + ".key"} {
		b, err := os.ReadFile(l.pki(f))
		if err != nil {
			return "", fmt.Errorf("make kubeconfig of %s: %w", user, err)
		}
		data[f] = base64.StdEncoding.EncodeToString(b)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster: {server: %q, certificate-authority-data: %s}
users:
- name: %s
  user: {client-certificate-data: %s, client-key-data: %s}
contexts:
- name: lab
  context: {cluster: lab, user: %s}
current-context: lab
`, server, data["ca.crt"], user, data[user+".crt"], data[user+".key"], user), nil
}

// writeKubeconfig writes one to a file that only root may read.
func (l *Lab) writeKubeconfig(file, user, server string) error {
	text, err := l.kubeconfig(user, server)
	if err != nil {
		return err
	}
	return write(file, text, 0o600)
}

// write makes the folder and replaces the file in one step.
func write(file, text string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, []byte(text), mode); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}
