// SPDX-License-Identifier: Apache-2.0

package identity_test

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/tunnel/identity"
)

var start = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func authority(tb testing.TB) identity.Authority {
	tb.Helper()
	a, err := identity.NewAuthority(rand.Reader, start)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func pool(a identity.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Certificate)
	return p
}

// sign makes a certificate of a Grant with a key of its own.
func sign(tb testing.TB, a identity.Authority, g identity.Grant) *x509.Certificate {
	tb.Helper()
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	g.Public = &key.PublicKey
	if g.Lifetime == 0 {
		g.Lifetime = identity.Lifetime
	}
	text, err := a.Sign(rand.Reader, start, g)
	if err != nil {
		tb.Fatal(err)
	}
	all, err := identity.ParseCertificates(text)
	if err != nil {
		tb.Fatal(err)
	}
	return all[0]
}

var (
	agent   = identity.Grant{Kind: identity.Agent, Name: "shop-1", UID: "u-1"}
	gateway = identity.Grant{Kind: identity.Gateway, Name: "gw-0", DNS: []string{identity.ServerName}}
	caller  = identity.Grant{Kind: identity.Caller, Name: "kube-apiserver"}
)

func TestVerify(t *testing.T) {
	ours, others := authority(t), authority(t)
	end := start.Add(identity.Lifetime)
	all := []identity.Kind{identity.Agent, identity.Gateway, identity.Caller}
	for name, c := range map[string]struct {
		by    identity.Authority
		grant identity.Grant
		at    time.Duration // after it was signed
		kinds []identity.Kind
		want  identity.Who
		err   string
	}{
		"agent":               {ours, agent, 0, all, identity.Who{Kind: identity.Agent, Name: "shop-1", UID: "u-1", Expires: end}, ""},
		"gateway":             {ours, gateway, 0, all, identity.Who{Kind: identity.Gateway, Name: "gw-0", Expires: end}, ""},
		"caller":              {ours, caller, 0, all, identity.Who{Kind: identity.Caller, Name: "kube-apiserver", Expires: end}, ""},
		"a slow clock":        {ours, agent, -23 * time.Hour, all, identity.Who{Kind: identity.Agent, Name: "shop-1", UID: "u-1", Expires: end}, ""},
		"not begun":           {ours, agent, -25 * time.Hour, all, identity.Who{}, "not yet valid"},
		"ended":               {ours, agent, identity.Lifetime + time.Second, all, identity.Who{}, "expired"},
		"of another cluster":  {others, agent, 0, all, identity.Who{}, "unknown authority"},
		"an agent as gateway": {ours, agent, 0, []identity.Kind{identity.Gateway}, identity.Who{}, "it is a agent's"},
		"a gateway as agent":  {ours, gateway, 0, []identity.Kind{identity.Agent}, identity.Who{}, "it is a gateway's"},
		"an agent as caller":  {ours, agent, 0, []identity.Kind{identity.Caller}, identity.Who{}, "it is a agent's"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := identity.Verify([]*x509.Certificate{sign(t, c.by, c.grant)}, pool(ours), start.Add(c.at), c.kinds...)
			diff(t, "who", c.want, got)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
		})
	}
	if _, err := identity.Verify(nil, pool(ours), start, all...); err == nil {
		t.Error("no certificate is somebody's")
	}
	if _, err := identity.Verify([]*x509.Certificate{sign(t, ours, agent)}, nil, start, all...); err == nil {
		t.Error("without authorities a certificate is somebody's")
	}
	if _, err := identity.Verify([]*x509.Certificate{ours.Certificate}, pool(ours), start, all...); err == nil {
		t.Error("the authority's own certificate is somebody's")
	}
}

// TestFromCertificate reads certificates that Sign would not make.
func TestFromCertificate(t *testing.T) {
	parse := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	good := []*url.URL{parse("magpie://node/shop-1/u-1")}
	for name, c := range map[string]struct {
		cn   string
		orgs []string
		uris []*url.URL
		dns  []string
		ca   bool
	}{
		"a cluster's certificate":  {cn: "system:node:shop-1", orgs: []string{"system:nodes"}},
		"no organization":          {cn: "shop-1", uris: good},
		"both organizations":       {cn: "shop-1", orgs: []string{identity.OrgAgents, identity.OrgGateways}, uris: good, dns: []string{identity.ServerName}},
		"no URI":                   {cn: "shop-1", orgs: []string{identity.OrgAgents}},
		"two URIs":                 {cn: "shop-1", orgs: []string{identity.OrgAgents}, uris: append(good, good...)},
		"another's URI":            {cn: "shop-2", orgs: []string{identity.OrgAgents}, uris: good},
		"a URI without UID":        {cn: "shop-1", orgs: []string{identity.OrgAgents}, uris: []*url.URL{parse("magpie://node/shop-1/")}},
		"a URI with more":          {cn: "shop-1", orgs: []string{identity.OrgAgents}, uris: []*url.URL{parse("magpie://node/shop-1/u-1/x")}},
		"a URI with a query":       {cn: "shop-1", orgs: []string{identity.OrgAgents}, uris: []*url.URL{parse("magpie://node/shop-1/u-1?x")}},
		"a URI of another scheme":  {cn: "shop-1", orgs: []string{identity.OrgAgents}, uris: []*url.URL{parse("spiffe://node/shop-1/u-1")}},
		"a gateway without a name": {cn: "gw-0", orgs: []string{identity.OrgGateways}, dns: []string{"kubernetes"}},
		"a name in capitals":       {cn: "Shop-1", orgs: []string{identity.OrgAgents}, uris: good},
		"no name":                  {orgs: []string{identity.OrgCallers}},
		"an authority":             {cn: "x", orgs: []string{identity.OrgCallers}, ca: true},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := identity.NewKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			template := &x509.Certificate{
				SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: c.cn, Organization: c.orgs},
				URIs: c.uris, DNSNames: c.dns, IsCA: c.ca, BasicConstraintsValid: true,
			}
			der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
			if err != nil {
				t.Fatal(err)
			}
			read, err := x509.ParseCertificate(der)
			if err != nil {
				t.Fatal(err)
			}
			if who, err := identity.FromCertificate(read); err == nil {
				t.Errorf("is %+v", who)
			}
		})
	}
}

// TestVault goes through a whole rotation: at each moment whatever was signed
// and has not ended is trusted by the bundle, and so it was a day before.
func TestVault(t *testing.T) {
	v, err := identity.NewVault(rand.Reader, start)
	if err != nil {
		t.Fatal(err)
	}
	var live []*x509.Certificate
	dayOld := map[time.Time][]byte{}
	var stages []string
	wish := start.Add(30 * time.Hour)
	for now := start; now.Before(start.Add(6 * 24 * time.Hour)); now = now.Add(time.Hour) {
		next, changed, err := v.Advance(rand.Reader, now, wish)
		if err != nil {
			t.Fatal(err)
		}
		if changed == next.Equal(v) {
			t.Errorf("%s: changed is %t, but equal is, too", now, changed)
		}
		if changed {
			stages = append(stages, now.Sub(start).String())
		}
		v = saved(t, next)
		key, err := identity.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		g := agent
		g.Public, g.Lifetime = &key.PublicKey, identity.Lifetime
		text, err := v.Sign.Sign(rand.Reader, now, g)
		if err != nil {
			t.Fatal(err)
		}
		all, err := identity.ParseCertificates(text)
		if err != nil {
			t.Fatal(err)
		}
		live = append(live, all[0])
		dayOld[now] = v.Bundle()
		for _, c := range live {
			if !c.NotAfter.Before(now) {
				trusts(t, v.Bundle(), c, now)
			}
		}
		if old := dayOld[now.Add(-identity.Announce+time.Hour)]; old != nil {
			trusts(t, old, all[0], now) // whoever has not read the bundle for 23 hours
		}
	}
	diff(t, "stages", []string{"30h0m0s", "54h0m0s", "79h0m0s"}, stages)
	aged := identity.Signed(v.Sign.Certificate).Add(identity.AuthorityLife/3*2 + time.Minute)
	if _, changed, err := v.Advance(rand.Reader, aged, time.Time{}); err != nil || !changed {
		t.Errorf("an old authority is not replaced: %v", err)
	}
}

func trusts(t *testing.T, bundle []byte, c *x509.Certificate, now time.Time) {
	t.Helper()
	roots, err := identity.Pool(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identity.Verify([]*x509.Certificate{c}, roots, now, identity.Agent); err != nil {
		t.Errorf("after %s, signed at %s: %v", now.Sub(start), identity.Signed(c).Sub(start), err)
	}
}

// saved returns the vault as it is after it was written and read.
func saved(t *testing.T, v identity.Vault) identity.Vault {
	t.Helper()
	data, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	out, ok, err := identity.DecodeVault(data)
	if err != nil || !ok || !out.Equal(v) {
		t.Fatalf("read back: %t, %v", ok, err)
	}
	for key := range data { // each key is needed
		cut := map[string][]byte{}
		for k, text := range data {
			if k != key {
				cut[k] = text
			}
		}
		if _, ok, err := identity.DecodeVault(cut); err == nil && (ok && key != "old.crt" || !ok) {
			t.Fatalf("a Secret without %s is taken for whole", key)
		}
	}
	return out
}

func TestRenewAfter(t *testing.T) {
	c := sign(t, authority(t), agent)
	for chance, want := range map[float64]time.Duration{0: 816 * time.Minute, 0.5: 16 * time.Hour, 1: 1104 * time.Minute} {
		if got := identity.RenewAfter(c, chance); got != want {
			t.Errorf("chance %g: after %s, want %s", chance, got, want)
		}
	}
}

// TestBundle: a bundle that was cut off is no smaller bundle.
func TestBundle(t *testing.T) {
	one := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority(t).Certificate.Raw})
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sign(t, authority(t), agent).Raw})
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"one": {string(one), true}, "two": {string(one) + string(one), true}, "white space": {string(one) + "\n \n", true},
		"empty": {"", false}, "cut off": {string(one) + string(one[:len(one)/2]), false}, "a leaf": {string(one) + string(leaf), false},
		"a key": {string(one) + "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", false},
	} {
		if _, err := identity.Pool([]byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzFromCertificate(f *testing.F) {
	a := authority(f)
	roots := pool(a)
	for _, g := range []identity.Grant{agent, gateway, caller} {
		f.Add(sign(f, a, g).Raw)
	}
	f.Add(a.Certificate.Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		who, err := identity.FromCertificate(c)
		if err == nil && (who.Name != c.Subject.CommonName || strings.ContainsAny(who.Name, "\n /") || who.Kind == identity.Agent && who.UID == "") {
			t.Fatalf("read %+v", who)
		}
		again, err2 := identity.Verify([]*x509.Certificate{c}, roots, start, identity.Agent, identity.Gateway, identity.Caller)
		if err2 == nil && (err != nil || again != who) {
			t.Fatalf("verified %+v, read %+v, %v", again, who, err)
		}
	})
}

func FuzzDecodeVault(f *testing.F) {
	v, err := identity.NewVault(rand.Reader, start)
	if err != nil {
		f.Fatal(err)
	}
	data, err := v.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data["sign.crt"], data["sign.key"], data["since"])
	f.Fuzz(func(t *testing.T, certificate, key, since []byte) {
		v, ok, err := identity.DecodeVault(map[string][]byte{"sign.crt": certificate, "sign.key": key, "since": since})
		if err != nil || !ok {
			return
		}
		if _, err := v.Encode(); err != nil {
			t.Fatalf("read, but not written: %v", err)
		}
	})
}
