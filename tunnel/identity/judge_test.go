// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	certv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

const (
	agents   = "system:serviceaccount:magpie-system:magpie-agent"
	gateways = "system:serviceaccount:magpie-system:magpie-gateway"
)

// rules know one node: shop-1 with UID u-1.
var rules = identity.Rules{Namespace: "magpie-system", Node: func(name string) (string, bool) {
	return "u-1", name == "shop-1"
}}

// wish is a request; its zero fields mean what a proper agent on shop-1 sends.
type wish struct {
	signer, user, node, uid, pod string
	groups                       []string
	template                     *x509.CertificateRequest
	key                          any
	pem                          func([]byte) []byte
	usages                       []certv1.KeyUsage
	seconds                      int32
}

func (w wish) request(tb testing.TB) *certv1.CertificateSigningRequest {
	tb.Helper()
	if w.template == nil {
		w.template = &x509.CertificateRequest{Subject: pkix.Name{CommonName: "shop-1", Organization: []string{identity.OrgAgents}}}
	}
	if w.key == nil {
		key, err := identity.NewKey(rand.Reader)
		if err != nil {
			tb.Fatal(err)
		}
		w.key = key
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, w.template, w.key)
	if err != nil {
		tb.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	if w.pem != nil {
		text = w.pem(text)
	}
	csr := &certv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: "r"}}
	csr.Spec = identity.RequestSpec(identity.Agent, text)
	if w.usages != nil {
		csr.Spec.Usages = w.usages
	}
	if w.seconds != 0 {
		csr.Spec.ExpirationSeconds = &w.seconds
	}
	if w.signer != "" {
		csr.Spec.SignerName = w.signer
	}
	csr.Spec.Username, csr.Spec.Groups = agents, w.groups
	if w.user != "" {
		csr.Spec.Username = w.user
	}
	csr.Spec.Extra = map[string]certv1.ExtraValue{}
	for claim, value := range map[string]string{api.TokenNode: w.node, api.TokenNodeUID: w.uid, api.TokenPod: w.pod} {
		if value != "" {
			csr.Spec.Extra[claim] = certv1.ExtraValue{value}
		}
	}
	return csr
}

func subject(name string, orgs ...string) *x509.CertificateRequest {
	return &x509.CertificateRequest{Subject: pkix.Name{CommonName: name, Organization: orgs}}
}

func TestJudge(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*x509.CertificateRequest)) *x509.CertificateRequest {
		r := subject("shop-1", identity.OrgAgents)
		change(r)
		return r
	}
	uri := func(text string) *x509.CertificateRequest {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return with(func(r *x509.CertificateRequest) { r.URIs = []*url.URL{u} })
	}
	kubelet := []string{"system:nodes", "system:authenticated"}
	gateway := func(dns ...string) *x509.CertificateRequest {
		r := subject("gw-0", identity.OrgGateways)
		r.DNSNames = dns
		return r
	}
	for name, c := range map[string]struct {
		wish wish
		code string // "": granted
		text string
	}{
		"an agent for its own node":       {wish: wish{node: "shop-1"}},
		"with the UID of its node":        {wish: wish{node: "shop-1", uid: "u-1"}},
		"with its URI":                    {wish: wish{node: "shop-1", template: uri("magpie://node/shop-1/u-1")}},
		"another node's name":             {wish: wish{node: "shop-2"}, code: identity.NoteNotItsName, text: `node "shop-2" asked for the certificate of "shop-1"`},
		"an empty claim":                  {wish: wish{}, code: identity.NoteNoClaim, text: "names no node"},
		"a former node's token":           {wish: wish{node: "shop-1", uid: "u-0"}, code: identity.NoteNodeReplaced, text: "former Node"},
		"a node that is not there":        {wish: wish{node: "shop-9", template: subject("shop-9", identity.OrgAgents)}, code: identity.NoteNodeUnknown},
		"another namespace's account":     {wish: wish{node: "shop-1", user: "system:serviceaccount:mine:magpie-agent"}, code: identity.NoteStranger},
		"an administrator":                {wish: wish{user: "admin", groups: []string{"system:masters"}}, code: identity.NoteStranger},
		"the gateway's account":           {wish: wish{node: "shop-1", user: gateways}, code: identity.NoteStranger},
		"the node's kubelet":              {wish: wish{user: "system:node:shop-1", groups: kubelet}},
		"another node's kubelet":          {wish: wish{user: "system:node:shop-2", groups: kubelet}, code: identity.NoteNotItsName},
		"a kubelet with another's claim":  {wish: wish{user: "system:node:shop-2", groups: kubelet, node: "shop-1"}, code: identity.NoteNotItsName},
		"a user named like a kubelet":     {wish: wish{user: "system:node:shop-1"}, code: identity.NoteStranger},
		"a kubelet at the gateway signer": {wish: wish{user: "system:node:shop-1", groups: kubelet, signer: api.SignerGateway}, code: identity.NoteStranger},
		"the organization of gateways":    {wish: wish{node: "shop-1", template: subject("shop-1", identity.OrgGateways)}, code: identity.NoteBadRequest},
		"two organizations":               {wish: wish{node: "shop-1", template: subject("shop-1", identity.OrgAgents, identity.OrgGateways)}, code: identity.NoteBadRequest},
		"system:masters":                  {wish: wish{node: "shop-1", template: subject("shop-1", "system:masters")}, code: identity.NoteBadRequest},
		"no name":                         {wish: wish{node: "shop-1", template: subject("", identity.OrgAgents)}, code: identity.NoteBadRequest},
		"a name with a line break":        {wish: wish{node: "shop-1", template: subject("shop-1\nx", identity.OrgAgents)}, code: identity.NoteBadRequest, text: `\n`},
		"another's URI":                   {wish: wish{node: "shop-1", template: uri("magpie://node/shop-2/u-1")}, code: identity.NoteBadRequest},
		"another UID":                     {wish: wish{node: "shop-1", template: uri("magpie://node/shop-1/u-2")}, code: identity.NoteBadRequest},
		"a DNS name": {
			wish: wish{node: "shop-1", template: with(func(r *x509.CertificateRequest) { r.DNSNames = []string{identity.ServerName} })},
			code: identity.NoteBadRequest, text: "magpie-gateway",
		},
		"an address":         {wish: wish{node: "shop-1", template: with(func(r *x509.CertificateRequest) { r.IPAddresses = []net.IP{{127, 0, 0, 1}} })}, code: identity.NoteBadRequest},
		"a mail address":     {wish: wish{node: "shop-1", template: with(func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@b"} })}, code: identity.NoteBadRequest},
		"to serve":           {wish: wish{node: "shop-1", usages: []certv1.KeyUsage{certv1.UsageServerAuth}}, code: identity.NoteBadRequest},
		"to sign":            {wish: wish{node: "shop-1", usages: []certv1.KeyUsage{certv1.UsageCertSign}}, code: identity.NoteBadRequest},
		"an RSA key":         {wish: wish{node: "shop-1", key: small}, code: identity.NoteBadRequest, text: "ECDSA P-256"},
		"an Edwards key":     {wish: wish{node: "shop-1", key: edwards}, code: identity.NoteBadRequest},
		"a P-384 key":        {wish: wish{node: "shop-1", key: p384}, code: identity.NoteBadRequest},
		"no PEM":             {wish: wish{node: "shop-1", pem: func([]byte) []byte { return []byte("x") }}, code: identity.NoteBadRequest},
		"two PEM blocks":     {wish: wish{node: "shop-1", pem: func(b []byte) []byte { return slices.Concat(b, b) }}, code: identity.NoteBadRequest},
		"a broken signature": {wish: wish{node: "shop-1", pem: breakSignature}, code: identity.NoteBadRequest, text: "not signed with its key"},
		"a gateway":          {wish: wish{user: gateways, pod: "gw-0", signer: api.SignerGateway, template: gateway()}},
		"a gateway's names":  {wish: wish{user: gateways, pod: "gw-0", signer: api.SignerGateway, template: gateway("magpie-gateway", "magpie-gateway.magpie-system.svc")}},
		"a gateway's other name": {
			wish: wish{user: gateways, pod: "gw-0", signer: api.SignerGateway, template: gateway("kubernetes.default.svc")},
			code: identity.NoteBadRequest,
		},
		"another gateway": {wish: wish{user: gateways, pod: "gw-1", signer: api.SignerGateway, template: gateway()}, code: identity.NoteNotItsName},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := identity.Judge(c.wish.request(t), rules)
			if err != nil || v.Code != c.code || !strings.Contains(v.Text, c.text) {
				t.Errorf("verdict %q (%s), %v, want %q (%s)", v.Code, v.Text, err, c.code, c.text)
			}
			if strings.ContainsAny(v.Text, "\n\r") || len(v.Text) > 400 {
				t.Errorf("text is not fit for an event: %q", v.Text)
			}
			if v.Wait != (c.code == identity.NoteNodeUnknown) {
				t.Errorf("wait is %t", v.Wait)
			}
		})
	}
	if _, err := identity.Judge((wish{node: "shop-1", signer: certv1.KubeAPIServerClientSignerName}).request(t), rules); err == nil {
		t.Error("judged a request to a signer that is not ours")
	}
	for seconds, want := range map[int32]time.Duration{600: 10 * time.Minute, 1 << 30: identity.Lifetime} {
		v, err := identity.Judge((wish{node: "shop-1", seconds: seconds}).request(t), rules)
		if err != nil || v.Grant.Lifetime != want {
			t.Errorf("asked for %d s: %s, %v, want %s", seconds, v.Grant.Lifetime, err, want)
		}
	}
}

// breakSignature changes the last byte of the request inside.
func breakSignature(text []byte) []byte {
	block, _ := pem.Decode(text)
	block.Bytes[len(block.Bytes)-1] ^= 1
	return pem.EncodeToMemory(block)
}

// TestDecide: answered requests stay as they are, refusals stay visible, and
// one node cannot have certificates without end.
func TestDecide(t *testing.T) {
	var in []*certv1.CertificateSigningRequest
	add := func(name string, w wish, at int, change func(*certv1.CertificateSigningRequest)) {
		csr := w.request(t)
		csr.Name, csr.CreationTimestamp = name, metav1.Unix(int64(at), 0)
		if change != nil {
			change(csr)
		}
		in = append(in, csr)
	}
	condition := func(kind certv1.RequestConditionType, reason string) func(*certv1.CertificateSigningRequest) {
		return func(r *certv1.CertificateSigningRequest) {
			r.Status.Conditions = []certv1.CertificateSigningRequestCondition{{Type: kind, Status: "True", Reason: reason, Message: "because"}}
		}
	}
	own := wish{node: "shop-1"}
	other := wish{node: "shop-2"}
	add("issued", own, 1, func(r *certv1.CertificateSigningRequest) { r.Status.Certificate = []byte("x") })
	add("denied", other, 2, condition(certv1.CertificateDenied, "TunnelNotItsName"))
	add("by hand", own, 3, condition(certv1.CertificateDenied, "Boss"))
	add("waits", wish{node: "shop-9", template: subject("shop-9", identity.OrgAgents)}, 4, nil)
	add("other", other, 5, nil)
	add("approved by hand", other, 6, condition(certv1.CertificateApproved, "Boss"))
	for i := range identity.PerHour {
		add("many-"+string(rune('a'+i)), own, 10+i, nil)
	}
	slices.Reverse(in) // order carries no meaning

	decisions, notes := identity.Decide(in, rules)
	got := map[string]string{}
	for _, d := range decisions {
		got[d.Request] = d.Verdict.Code
	}
	want := map[string]string{"other": identity.NoteNotItsName, "approved by hand": identity.NoteNotItsName}
	for i := range identity.PerHour - 1 {
		want["many-"+string(rune('a'+i))] = ""
	}
	want["many-"+string(rune('a'+identity.PerHour-1))] = identity.NoteTooMany
	diff(t, "decisions", want, got)

	codes := map[string]int{}
	for _, n := range notes {
		codes[n.Subject+" "+n.Code]++
	}
	diff(t, "notes", map[string]int{
		"node shop-2 " + identity.NoteNotItsName: 3, "node shop-1 " + identity.NoteDenied: 1,
		"node shop-9 " + identity.NoteNodeUnknown: 1, "node shop-1 " + identity.NoteTooMany: 1,
	}, codes)
}

// TestConditions: what is written into a request, and what its owner reads.
func TestConditions(t *testing.T) {
	csr := wish{node: "shop-1"}.request(t)
	refused := identity.Verdict{Code: identity.NoteNotItsName, Text: "no"}
	added, changed := identity.Conditions(csr, identity.Verdict{})
	if !changed || len(added) != 1 || added[0].Type != certv1.CertificateApproved {
		t.Errorf("granted: %+v", added)
	}
	csr.Status.Conditions = added
	if text, err := identity.Issued(csr); text != nil || err != nil {
		t.Errorf("approved, not signed: %q, %v", text, err)
	}
	if _, changed := identity.Conditions(csr, identity.Verdict{}); changed {
		t.Error("an approval is written twice")
	}
	added, _ = identity.Conditions(csr, refused)
	if len(added) != 2 || added[1].Type != certv1.CertificateFailed {
		t.Errorf("approved by somebody else, refused by us: %+v", added)
	}
	csr.Status.Conditions = nil
	csr.Status.Conditions, _ = identity.Conditions(csr, refused)
	if _, err := identity.Issued(csr); err == nil || !strings.Contains(err.Error(), "TunnelNotItsName: no") {
		t.Errorf("denied: %v", err)
	}
}

func FuzzJudge(f *testing.F) {
	f.Add((wish{node: "shop-1"}).request(f).Spec.Request, "shop-1")
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n"), "shop-1")
	f.Fuzz(func(t *testing.T, text []byte, node string) {
		csr := &certv1.CertificateSigningRequest{Spec: identity.RequestSpec(identity.Agent, text)}
		csr.Spec.Username = agents
		csr.Spec.Extra = map[string]certv1.ExtraValue{api.TokenNode: {node}}
		v, err := identity.Judge(csr, rules)
		if err != nil || strings.ContainsAny(v.Text, "\n\r\x00") {
			t.Fatalf("verdict %+v, %v", v, err)
		}
		if v.Granted() && (v.Grant.Name != node || node != "shop-1") {
			t.Fatalf("granted %+v to node %q", v.Grant, node)
		}
	})
}
