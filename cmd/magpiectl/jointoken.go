// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/magpie-edge/magpie/nodepool/join"
)

// groupBootstrap is the group of machines that join with our tokens.
// Source: kubernetes.io/docs, "TLS bootstrapping": system:bootstrappers:*.
const groupBootstrap = "system:bootstrappers:magpie"

// token is a bootstrap token: its public id, its secret and its end.
type token struct {
	id, secret string
	expires    time.Time // zero: never
}

// newToken makes a token or takes the given one.
func newToken(now time.Time, given string, ttl time.Duration) (token, error) {
	if ttl < 0 {
		return token{}, fmt.Errorf("--ttl: %s has passed already", ttl)
	}
	if given == "" {
		id, err := random(6)
		if err != nil {
			return token{}, err
		}
		secret, err := random(16)
		if err != nil {
			return token{}, err
		}
		given = id + "." + secret
	}
	if !join.ValidToken(given) {
		return token{}, errors.New("--token: not of the form abcdef.0123456789abcdef")
	}
	t := token{}
	t.id, t.secret, _ = strings.Cut(given, ".")
	if ttl > 0 {
		t.expires = now.Add(ttl).UTC().Truncate(time.Second)
	}
	return t, nil
}

// String is the token as a machine shows it.
func (t token) String() string { return t.id + "." + t.secret }

func (t token) until() string {
	if t.expires.IsZero() {
		return "it is deleted (kubectl -n kube-system delete secret bootstrap-token-" + t.id + ")"
	}
	return t.expires.Format(time.RFC3339)
}

// random returns n characters of the alphabet of bootstrap tokens.
func random(n int) (string, error) {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	out := make([]byte, n)
	for i := range out {
		k, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return "", fmt.Errorf("draw token: %w", err)
		}
		out[i] = letters[k.Int64()]
	}
	return string(out), nil
}

// store writes the Secret that makes the token valid. One that exists already,
// because the operator gave it, must be the same; its end moves.
func (t token) store(ctx context.Context, k kubernetes.Interface) error {
	secrets := k.CoreV1().Secrets(metav1.NamespaceSystem)
	want := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + t.id, Namespace: metav1.NamespaceSystem},
		Type:       corev1.SecretTypeBootstrapToken,
		StringData: map[string]string{
			"description":                    "made by magpiectl join",
			"token-id":                       t.id,
			"token-secret":                   t.secret,
			"usage-bootstrap-authentication": "true",
			"auth-extra-groups":              groupBootstrap,
		},
	}
	if !t.expires.IsZero() {
		want.StringData["expiration"] = t.expires.Format(time.RFC3339)
	}
	_, err := secrets.Create(ctx, want, metav1.CreateOptions{})
	if !apierrors.IsAlreadyExists(err) {
		return wrap("create bootstrap token", err)
	}
	has, err := secrets.Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("get bootstrap token: %w", err)
	}
	if string(has.Data["token-secret"]) != t.secret {
		return fmt.Errorf("--token: Secret kube-system/%s has another secret", want.Name)
	}
	if !strings.Contains(","+string(has.Data["auth-extra-groups"])+",", ","+groupBootstrap+",") {
		return fmt.Errorf("--token: Secret kube-system/%s does not put its bearer into group %s; add it to auth-extra-groups", want.Name, groupBootstrap)
	}
	if t.expires.IsZero() {
		delete(has.Data, "expiration")
	} else {
		has.StringData = map[string]string{"expiration": t.expires.Format(time.RFC3339)}
	}
	_, err = secrets.Update(ctx, has, metav1.UpdateOptions{})
	return wrap("prolong bootstrap token", err)
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// letNodesIn makes sure that a bearer of our tokens may ask for a certificate,
// gets it, and may renew it. The names are ours, so that removing Magpie, or
// kubeadm, takes nothing from the other.
func letNodesIn(ctx context.Context, messages io.Writer, k kubernetes.Interface) error {
	for _, b := range []struct{ name, role, group string }{
		{"magpie:node-bootstrapper", "system:node-bootstrapper", groupBootstrap},
		{"magpie:node-autoapprove", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", groupBootstrap},
		{"magpie:node-autorenew", "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"},
	} {
		want := &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: b.name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: b.role},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: b.group}},
		}
		_, err := k.RbacV1().ClusterRoleBindings().Create(ctx, want, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("create ClusterRoleBinding %s: %w", b.name, err)
		}
		fmt.Fprintf(messages, "created ClusterRoleBinding %s\n", b.name)
	}
	return nil
}
