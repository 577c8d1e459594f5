// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Kind is the role of whoever has a certificate.
type Kind string

// The kinds.
const (
	Agent   Kind = "agent"   // a node's agent, which dials gateways
	Gateway Kind = "gateway" // an instance of magpie-gateway
	Caller  Kind = "caller"  // who may use a gateway's entries: the API server
)

// Organizations in certificates, one a kind.
const (
	OrgAgents   = "magpie:tunnel:agents"
	OrgGateways = "magpie:tunnel:gateways"
	OrgCallers  = "magpie:tunnel:callers"
)

// ServerName is the DNS name in every gateway's certificate, and what agents
// verify whatever address they have dialled.
const ServerName = "magpie-gateway"

// uriScheme begins an agent's URI: magpie://node/NAME/UID.
const uriScheme = "magpie"

// Who is whom a certificate names.
type Who struct {
	Kind Kind
	// Name of the node, of the gateway's pod, or of the caller.
	Name string
	// UID of the Node object when the certificate was signed; "" if no agent.
	UID string
	// Expires is the end of the certificate.
	Expires time.Time
}

// ErrNobody says that a certificate names nobody of the tunnel.
var ErrNobody = errors.New("certificate is nobody's in the tunnel")

// FromCertificate reads whom a certificate names. It does not ask who signed
// it: Verify does.
func FromCertificate(c *x509.Certificate) (Who, error) {
	if c == nil {
		return Who{}, fmt.Errorf("%w: there is none", ErrNobody)
	}
	nobody := func(why string) (Who, error) { return Who{}, fmt.Errorf("%w: %s", ErrNobody, why) }
	if c.IsCA {
		return nobody("it is an authority's")
	}
	if len(c.Subject.Organization) != 1 {
		return nobody("it does not have one organization")
	}
	who := Who{Name: c.Subject.CommonName, Expires: c.NotAfter}
	if err := checkName(who.Name); err != nil {
		return nobody("common name " + err.Error())
	}
	switch c.Subject.Organization[0] {
	case OrgAgents:
		who.Kind = Agent
		if len(c.URIs) != 1 {
			return nobody("it does not have one URI")
		}
		node, uid, err := readURI(c.URIs[0])
		if err != nil || node != who.Name {
			return nobody("its URI is not its node's")
		}
		who.UID = uid
	case OrgGateways:
		who.Kind = Gateway
		if c.VerifyHostname(ServerName) != nil {
			return nobody("it lacks the DNS name " + ServerName)
		}
	case OrgCallers:
		who.Kind = Caller
	default:
		return nobody("organization " + quote(c.Subject.Organization[0]))
	}
	return who, nil
}

// Verify reads whom a chain names, the leaf first, after it has verified that
// roots have signed it for this use and that it is one of kinds. TLS doors call
// it on every handshake, a resumed one too.
func Verify(chain []*x509.Certificate, roots *x509.CertPool, now time.Time, kinds ...Kind) (Who, error) {
	if len(chain) == 0 {
		return Who{}, fmt.Errorf("%w: there is none", ErrNobody)
	}
	if roots == nil {
		return Who{}, errors.New("no authority is known yet")
	}
	who, err := FromCertificate(chain[0])
	if err != nil {
		return Who{}, err
	}
	if !slices.Contains(kinds, who.Kind) {
		return Who{}, fmt.Errorf("%w: it is a %s's, wanted %v", ErrNobody, who.Kind, kinds)
	}
	use := x509.ExtKeyUsageClientAuth
	options := x509.VerifyOptions{Roots: roots, CurrentTime: now, Intermediates: x509.NewCertPool()}
	if who.Kind == Gateway {
		use, options.DNSName = x509.ExtKeyUsageServerAuth, ServerName
	}
	options.KeyUsages = []x509.ExtKeyUsage{use}
	for _, c := range chain[1:] {
		options.Intermediates.AddCert(c)
	}
	if _, err := chain[0].Verify(options); err != nil {
		return Who{}, fmt.Errorf("verify certificate of %s %s: %w", who.Kind, who.Name, Timely(err, now))
	}
	return who, nil
}

// Timely says of an error of verification that is about time what a person can
// look at: a clock. Other errors it returns as they are.
func Timely(err error, now time.Time) error {
	late, ok := errors.AsType[x509.CertificateInvalidError](err)
	if !ok || late.Reason != x509.Expired || late.Cert == nil {
		return err
	}
	if early := late.Cert.NotBefore.Sub(now); early > 0 {
		return fmt.Errorf("the clock here is at least %s behind, or the signer's ahead: %w", early.Round(time.Second), err)
	}
	return fmt.Errorf("it ended %s ago by the clock here, which is ahead unless nobody has renewed it: %w", now.Sub(late.Cert.NotAfter).Round(time.Second), err)
}

// nodeURI is where a certificate holds the UID of its node.
func nodeURI(name, uid string) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: "node", Path: "/" + name + "/" + uid}
}

func readURI(u *url.URL) (name, uid string, err error) {
	name, uid, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || uid == "" || strings.Contains(uid, "/") || u.String() != nodeURI(name, uid).String() {
		return "", "", fmt.Errorf("%s is not magpie://node/NAME/UID", quote(u.String()))
	}
	return name, uid, nil
}

// checkName accepts names of nodes and pods: DNS subdomains.
// Source: RFC 1123 section 2.1; Kubernetes, "Object Names and IDs".
func checkName(name string) error {
	if name == "" || len(name) > 253 {
		return fmt.Errorf("has %d characters, not 1 to 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("%s is not a DNS subdomain", quote(name))
		}
	}
	return nil
}

// quote makes a foreign text fit for a log line or an event.
func quote(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return fmt.Sprintf("%q", s)
}
