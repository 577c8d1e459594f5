// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// get reads one path of the API as administrator. For polling: starting
// kubectl costs a tenth of a second of CPU each time.
func (l *Lab) get(ctx context.Context, path string) ([]byte, error) {
	port, err := os.ReadFile(filepath.Join(l.dir, "relay.port"))
	if err != nil {
		return nil, fmt.Errorf("find relay: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(l.pki("admin.crt"), l.pki("admin.key"))
	if err != nil {
		return nil, fmt.Errorf("load admin certificate: %w", err)
	}
	ca, err := os.ReadFile(l.pki("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://127.0.0.1:"+strings.TrimSpace(string(port))+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask API: %w", err)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask API: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if resp.StatusCode != http.StatusOK {
		return body, fmt.Errorf("get %s: %s: %.200s", path, resp.Status, body)
	}
	return body, nil
}

// Node is what the lab looks at of a Kubernetes Node.
type Node struct {
	Name   string
	Ready  bool
	Reason string // why it is not
	Pool   string
}

// Nodes lists the cluster's nodes.
func (l *Lab) Nodes(ctx context.Context) ([]Node, error) {
	body, err := l.get(ctx, "/api/v1/nodes")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name   string            `json:"name"`
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
			Status struct {
				Conditions []struct{ Type, Status, Message string } `json:"conditions"`
			} `json:"status"`
		} `json:"items"`
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("decode nodes: %w", err)
	}
	var out []Node
	for _, it := range list.Items {
		n := Node{Name: it.Metadata.Name, Pool: it.Metadata.Labels["apps.openyurt.io/nodepool"]}
		for _, c := range it.Status.Conditions {
			if c.Type == "Ready" {
				n.Ready, n.Reason = c.Status == "True", c.Message
			}
		}
		out = append(out, n)
	}
	return out, nil
}
