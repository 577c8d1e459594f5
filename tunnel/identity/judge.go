// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certv1 "k8s.io/api/certificates/v1"

	"github.com/magpie-edge/magpie/api"
)

// Codes of the Notes about requests that are refused or have to wait. A
// CertificateSigningRequest that is denied has Reason of one.
const (
	NoteStranger     = "tunnel-stranger"
	NoteBadRequest   = "tunnel-bad-request"
	NoteNotItsName   = "tunnel-not-its-name"
	NoteNoClaim      = "tunnel-token-without-node"
	NoteNodeUnknown  = "tunnel-node-unknown"
	NoteNodeReplaced = "tunnel-node-replaced"
	NoteTooMany      = "tunnel-too-many-requests"
)

// Rules are what requests are judged by.
type Rules struct {
	// Namespace of the ServiceAccounts of agents and gateways.
	Namespace string
	// Node returns the UID of the Node of that name.
	Node func(name string) (uid string, ok bool)
}

// Grant is what a certificate shall say.
type Grant struct {
	Kind   Kind
	Name   string
	UID    string   // of an agent's Node
	DNS    []string // of a gateway
	Public *ecdsa.PublicKey
	// Lifetime is how long the certificate lasts, at most Lifetime.
	Lifetime time.Duration
}

// Verdict is what is to be done with a request. Without a Code it is granted.
type Verdict struct {
	Grant Grant
	// Code says why not: a Note's.
	Code string
	// Text is for a person: what was asked, by whom, and what is wrong.
	Text string
	// Wait is true where the request may be granted later, as it is.
	Wait bool
}

// Granted reports whether the request is to be signed.
func (v Verdict) Granted() bool { return v.Code == "" }

// kindOf returns whom a signer signs for.
func kindOf(signer string) (Kind, bool) {
	switch signer {
	case api.SignerAgent:
		return Agent, true
	case api.SignerGateway:
		return Gateway, true
	}
	return "", false
}

// Judge decides one request. The error says that it is none of ours.
func Judge(csr *certv1.CertificateSigningRequest, r Rules) (Verdict, error) {
	kind, ours := kindOf(csr.Spec.SignerName)
	if !ours {
		return Verdict{}, fmt.Errorf("judge request %s: signer %s is not ours", csr.Name, quote(csr.Spec.SignerName))
	}
	refuse := func(code string, err error) (Verdict, error) {
		return Verdict{Code: code, Text: err.Error(), Wait: code == NoteNodeUnknown}, nil
	}
	if err := checkRequester(csr.Spec, kind, r.Namespace); err != nil {
		return refuse(NoteStranger, err)
	}
	request, err := parseRequest(csr.Spec.Request)
	if err != nil {
		return refuse(NoteBadRequest, err)
	}
	g := Grant{Kind: kind, Name: request.Subject.CommonName, Lifetime: Lifetime}
	g.Public, err = publicKey(request)
	if err != nil {
		return refuse(NoteBadRequest, err)
	}
	if kind == Gateway {
		g.DNS = []string{ServerName, ServerName + "." + r.Namespace, ServerName + "." + r.Namespace + ".svc"}
	}
	if code, err := checkOwn(csr.Spec, g); err != nil {
		return refuse(code, err)
	}
	if kind == Agent {
		uid, code, err := checkNode(csr.Spec, g.Name, r)
		if err != nil {
			return refuse(code, err)
		}
		g.UID = uid
	}
	if err := checkWishes(csr.Spec, request, g); err != nil {
		return refuse(NoteBadRequest, err)
	}
	if s := csr.Spec.ExpirationSeconds; s != nil {
		g.Lifetime = min(g.Lifetime, time.Duration(*s)*time.Second)
	}
	return Verdict{Grant: g}, nil
}

// checkRequester: only our own accounts, and a node's kubelet, may ask at all.
func checkRequester(s certv1.CertificateSigningRequestSpec, kind Kind, namespace string) error {
	account := api.AccountAgent
	if kind == Gateway {
		account = api.AccountGateway
	}
	if s.Username == "system:serviceaccount:"+namespace+":"+account {
		return nil
	}
	if _, kubelet := kubeletOf(s); kubelet && kind == Agent {
		return nil
	}
	return fmt.Errorf("%s may not ask for the certificate of a tunnel's %s", quote(s.Username), kind)
}

// kubeletOf returns the node whose kubelet asks.
// Source: kubernetes.io, "Using Node Authorization".
func kubeletOf(s certv1.CertificateSigningRequestSpec) (node string, ok bool) {
	node, ok = strings.CutPrefix(s.Username, "system:node:")
	return node, ok && slices.Contains(s.Groups, "system:nodes")
}

func parseRequest(text []byte) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != pemRequest || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New("the request is not one PEM block " + pemRequest)
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the request cannot be read: %s", quote(err.Error()))
	}
	if err := request.CheckSignature(); err != nil {
		return nil, errors.New("the request is not signed with its key")
	}
	return request, nil
}

func publicKey(request *x509.CertificateRequest) (*ecdsa.PublicKey, error) {
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not ECDSA P-256")
	}
	return key, nil
}

// checkOwn compares the name asked for with whom the API server says it is
// that asks.
func checkOwn(s certv1.CertificateSigningRequestSpec, g Grant) (code string, err error) {
	if err := checkName(g.Name); err != nil {
		return NoteBadRequest, fmt.Errorf("the common name %w", err)
	}
	claim, what := api.TokenNode, "node"
	if g.Kind == Gateway {
		claim, what = api.TokenPod, "pod"
	}
	own, kubelet := kubeletOf(s)
	if !kubelet {
		own = only(s.Extra[claim])
	}
	if own == "" {
		return NoteNoClaim, fmt.Errorf("the token of %s names no %s: one of a pod does, since Kubernetes 1.30", quote(s.Username), what)
	}
	if own != g.Name {
		return NoteNotItsName, fmt.Errorf("%s %s asked for the certificate of %s", what, quote(own), quote(g.Name))
	}
	return "", nil
}

// checkNode: there is such a Node, and it is the one that the token was made
// for and not a later one of its name.
func checkNode(s certv1.CertificateSigningRequestSpec, name string, r Rules) (uid, code string, err error) {
	uid, ok := r.Node(name)
	if !ok {
		return "", NoteNodeUnknown, fmt.Errorf("there is no Node %s", quote(name))
	}
	if claimed := only(s.Extra[api.TokenNodeUID]); claimed != "" && claimed != uid {
		return "", NoteNodeReplaced, fmt.Errorf("the token is of a former Node %s (UID %s, now %s)", quote(name), quote(claimed), uid)
	}
	return uid, "", nil
}

// checkWishes refuses what the certificate will not say, lest whoever asked
// believes that it does.
func checkWishes(s certv1.CertificateSigningRequestSpec, request *x509.CertificateRequest, g Grant) error {
	org, err := organization(g.Kind)
	if err != nil {
		return err
	}
	if !slices.Equal(request.Subject.Organization, []string{org}) {
		return fmt.Errorf("the organization is not %s alone", org)
	}
	if len(request.IPAddresses)+len(request.EmailAddresses) > 0 {
		return errors.New("addresses are not signed")
	}
	for _, name := range request.DNSNames {
		if !slices.Contains(g.DNS, name) {
			return fmt.Errorf("the DNS name %s is not signed", quote(name))
		}
	}
	for _, u := range request.URIs {
		if g.Kind != Agent || u.String() != nodeURI(g.Name, g.UID).String() {
			return fmt.Errorf("the URI %s is not signed", quote(u.String()))
		}
	}
	for _, u := range s.Usages {
		if !slices.Contains(usages(g.Kind), u) {
			return fmt.Errorf("the usage %s is not signed", quote(string(u)))
		}
	}
	return nil
}

func usages(kind Kind) []certv1.KeyUsage {
	out := []certv1.KeyUsage{certv1.UsageDigitalSignature, certv1.UsageKeyEncipherment, certv1.UsageClientAuth}
	if kind == Gateway {
		out = append(out, certv1.UsageServerAuth)
	}
	return out
}

// only returns the value of a claim that has just one.
func only(values []string) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}
