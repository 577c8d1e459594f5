// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// TestTunnelCaller: what it writes is a pair that a gateway lets in as a caller,
// and as nothing else.
func TestTunnelCaller(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	vault, err := identity.NewVault(rand.Reader, now)
	if err != nil {
		t.Fatal(err)
	}
	data, err := vault.Encode()
	if err != nil {
		t.Fatal(err)
	}
	meta := metav1.ObjectMeta{Namespace: api.TunnelCANamespace, Name: api.TunnelCAName}
	k := fake.NewClientset(&corev1.Secret{ObjectMeta: meta, Data: data})
	var out bytes.Buffer
	e := &env{out: &out, now: func() time.Time { return now }}
	dir := t.TempDir()
	if err := makeCaller(t.Context(), e, k, "kube-apiserver", callerOptions{dir, 90}); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	pair, err := tls.LoadX509KeyPair(file("kube-apiserver.crt"), file("kube-apiserver.key"))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := os.ReadFile(file("gateway-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := identity.Pool(bundle)
	if err != nil {
		t.Fatal(err)
	}
	chain := []*x509.Certificate{pair.Leaf}
	who, err := identity.Verify(chain, roots, now.Add(89*day), identity.Caller)
	if err != nil || who.Name != "kube-apiserver" || !who.Expires.Equal(now.Add(90*day)) {
		t.Errorf("the certificate is of %+v, %v", who, err)
	}
	if _, err := identity.Verify(chain, roots, now, identity.Agent, identity.Gateway); err == nil {
		t.Error("a caller's certificate is taken for an agent's or a gateway's")
	}
	if i, err := os.Stat(file("kube-apiserver.key")); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", i.Mode(), err)
	}
	if !strings.Contains(out.String(), "valid until 2027-02-20T12:00:00Z") {
		t.Errorf("prints %q", out.String())
	}

	empty := fake.NewClientset(&corev1.Secret{ObjectMeta: meta})
	for name, err := range map[string]error{
		"a path for a name":  makeCaller(t.Context(), e, k, "../x", callerOptions{dir, 90}),
		"ten years":          makeCaller(t.Context(), e, k, "x", callerOptions{dir, 3650}),
		"no days":            makeCaller(t.Context(), e, k, "x", callerOptions{dir, 0}),
		"no authority":       makeCaller(t.Context(), e, empty, "x", callerOptions{dir, 90}),
		"no Secret":          makeCaller(t.Context(), e, fake.NewClientset(), "x", callerOptions{dir, 90}),
		"a folder not there": makeCaller(t.Context(), e, k, "x", callerOptions{file("none"), 90}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
