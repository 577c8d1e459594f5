// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cmd/magpiectl/doctor"
	"github.com/magpie-edge/magpie/hub/client"
)

// answerTimeout is how long the agent on this machine may take.
const answerTimeout = 3 * time.Second

// machine is the one this process runs on.
func machine(ctx context.Context, files fs.FS) doctor.Machine {
	name, err := os.Hostname()
	if err != nil {
		name = "here"
	}
	return doctor.Machine{Name: name, Files: files, Answer: func(path string) (int, string, error) {
		return ask(ctx, http.DefaultClient, fmt.Sprintf("http://127.0.0.1:%d%s", api.PortAgentHealth, path))
	}, Hub: func(authority string) (int, error) {
		return askHub(ctx, client.URL(api.HubLoopback), authority)
	}}
}

// askHub lists Services as nobody.
func askHub(ctx context.Context, hub, authority string) (status int, err error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(authority)) {
		return 0, errors.New("its authority is no certificate")
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer t.CloseIdleConnections()
	status, _, err = ask(ctx, &http.Client{Transport: t}, hub+"/api/v1/services?limit=1")
	return status, err
}

func ask(ctx context.Context, c *http.Client, url string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return 0, "", fmt.Errorf("read %s: %w", url, err)
	}
	return answer.StatusCode, string(b), nil
}
