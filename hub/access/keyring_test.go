// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/magpie-edge/magpie/hub/access"
)

// renewed is a desk that has accepted a token of kube-proxy's pod and its right,
// and a Reviewer that has heard both, with the file at path.
func renewed(t *testing.T, s signer) (d *desk, o access.Options) {
	t.Helper()
	d = newDesk(t)
	d.publishes(s.key)
	d.allow(mayWatch, true)
	o = d.options(stateFile(t))
	d.life(t, o, func(r *access.Reviewer) {
		token := s.sign(t, d.claims())
		d.knows(token, kubeProxy("1"))
		u, err := r.Who(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		is(t, "right", may(t, r, u, watchServices), "yes")
	})
	return d, o
}

// TestRenewed: a token that the kubelet has fetched just before the line was cut
// is known for the one before it, also by an agent that starts alone, with the
// rights that were answered and no others; and when the API server is back, its
// answer counts.
func TestRenewed(t *testing.T) {
	s := newSigner(t, "k1")
	d, o := renewed(t, s)
	token := s.sign(t, d.claims())
	text, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	d.have(hangUp)
	d.life(t, o, func(r *access.Reviewer) {
		d.later(30 * time.Minute)
		for range 2 { // once asked, once known to be away
			u, err := r.Who(t.Context(), token)
			if err != nil || u.Name != kubeProxy("").Username {
				t.Fatalf("%+v, %v", u, err)
			}
			is(t, "right", may(t, r, u, watchServices), "yes")
			is(t, "another right", may(t, r, u, access.Deed{Verb: "list", Version: "v1", Resource: "nodes"}), "unknown")
		}
		if n := r.Stats().Signed; n != 2 {
			t.Errorf("%d were accepted for their signature", n)
		}
		d.later(6 * time.Second) // longer than it is taken to be away
		d.have(nil)
		is(t, "back, and the token is nobody's", who(t, r, token), "nobody")
		d.have(hangUp)
		d.later(time.Minute)
		is(t, "away again", who(t, r, token), "nobody")
		is(t, "away again, the next one", who(t, r, s.sign(t, d.claims())), "unknown")
	})
	for _, part := range parts(token) {
		if strings.Contains(string(text), part) {
			t.Error("a part of a token is on disk")
		}
	}
}

// TestRefusedPod: a pod's tokens are refused, as when it was deleted. Another
// one of it is not let in for its signature, by this process or the next.
func TestRefusedPod(t *testing.T) {
	s := newSigner(t, "k1")
	d, o := renewed(t, s)
	another := s.sign(t, d.claims())
	d.life(t, o, func(r *access.Reviewer) {
		is(t, "the pod was deleted", who(t, r, s.sign(t, d.claims())), "nobody")
		d.have(hangUp)
		is(t, "another token of it", who(t, r, another), "unknown")
	})
	d.life(t, o, func(r *access.Reviewer) {
		is(t, "another token of it, the next process", who(t, r, another), "unknown")
	})
}

// TestRefusedOnce: a token that the API server has refused stays refused, even
// if nothing can be seen in it later.
func TestRefusedOnce(t *testing.T) {
	s := newSigner(t, "k1")
	d, o := renewed(t, s)
	early := s.sign(t, d.claims(func(c map[string]any) { c["nbf"] = d.clock().Add(10 * time.Minute).Unix() }))
	d.life(t, o, func(r *access.Reviewer) {
		is(t, "too early", who(t, r, early), "nobody")
		d.have(hangUp)
		d.later(20 * time.Minute)
		for range 2 { // once asked, once known to be away
			is(t, "in time, away", who(t, r, early), "nobody")
		}
		is(t, "another one", who(t, r, s.sign(t, d.claims())), kubeProxy("").Username)
		is(t, "in time, known to be away", who(t, r, early), "nobody")
	})
}

// TestForgedRefusal: whoever sends rubbish in the name of a pod does not take
// anything from it.
func TestForgedRefusal(t *testing.T) {
	s := newSigner(t, "k1")
	d, o := renewed(t, s)
	d.life(t, o, func(r *access.Reviewer) {
		is(t, "forged", who(t, r, newSigner(t, "k1").sign(t, d.claims())), "nobody")
		expired := s.sign(t, d.claims(func(c map[string]any) { c["exp"] = d.clock().Add(-time.Hour).Unix() }))
		is(t, "expired", who(t, r, expired), "nobody")
		d.have(hangUp)
		is(t, "the pod", who(t, r, s.sign(t, d.claims())), kubeProxy("").Username)
	})
}

// TestAttacks: what is not let in while the API server is away.
func TestAttacks(t *testing.T) {
	s := newSigner(t, "k1")
	d, o := renewed(t, s)
	set := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	bound := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c["kubernetes.io"].(map[string]any)[name] = value } //nolint:forcetypeassert // it is
	}
	now := d.clock()
	tokens := map[string]string{
		"expired":         s.sign(t, d.claims(set("exp", now.Add(-2*time.Minute).Unix()))),
		"not valid yet":   s.sign(t, d.claims(set("nbf", now.Add(2*time.Minute).Unix()))),
		"of the future":   s.sign(t, d.claims(set("iat", now.Add(2*time.Minute).Unix()))),
		"without an end":  s.sign(t, d.claims(func(c map[string]any) { delete(c, "exp") })),
		"another issuer":  s.sign(t, d.claims(set("iss", "https://elsewhere"))),
		"other audiences": s.sign(t, d.claims(set("aud", []string{"vault"}))),
		"fewer audiences": s.sign(t, d.claims(set("aud", "k3s"))),
		"no audience":     s.sign(t, d.claims(func(c map[string]any) { delete(c, "aud") })),
		"another account": s.sign(t, d.claims(set("sub", "system:serviceaccount:kube-system:admin"))),
		"account made anew": s.sign(t, d.claims(bound("serviceaccount",
			map[string]any{"name": "kube-proxy", "uid": "another"}))),
		"another pod":          s.sign(t, d.claims(bound("pod", map[string]any{"name": "kube-proxy-y", "uid": "pod-uid-2"}))),
		"bound to no pod":      s.sign(t, d.claims(func(c map[string]any) { delete(c["kubernetes.io"].(map[string]any), "pod") })), //nolint:forcetypeassert // it is
		"another node":         s.sign(t, d.claims(bound("node", map[string]any{"name": "b-1", "uid": "node-uid"}))),
		"more than before":     s.sign(t, d.claims(bound("secret", map[string]any{"name": "x"}))),
		"of an old kind":       s.sign(t, d.claims(func(c map[string]any) { delete(c, "kubernetes.io") })),
		"key of the same name": newSigner(t, "k1").sign(t, d.claims()),
		"key of another name":  newSigner(t, "k2").sign(t, d.claims()),
		"key without a name":   signer{jose.JSONWebKey{Key: s.key.Key, Algorithm: "ES256"}}.sign(t, d.claims()),
		"no token":             "kube-proxy",
		"huge":                 s.sign(t, d.claims(set("pad", strings.Repeat("x", 20<<10)))),
	}
	good := s.sign(t, d.claims())
	maps.Copy(tokens, forged(t, good))
	d.have(hangUp)
	d.life(t, o, func(r *access.Reviewer) {
		for name, token := range tokens {
			want := "unknown"
			if name == "huge" {
				want = "nobody"
			}
			is(t, name, who(t, r, token), want)
		}
		if n := r.Stats().Signed; n != 0 {
			t.Errorf("%d were accepted for their signature", n)
		}
		is(t, "and the one that is right", who(t, r, good), kubeProxy("").Username)
	})
}

// forged are tokens made of a good one without its key.
func forged(t *testing.T, good string) map[string]string {
	t.Helper()
	b64 := base64.RawURLEncoding
	p := parts(good)
	claims, err := b64.DecodeString(p[1])
	if err != nil {
		t.Fatal(err)
	}
	head := func(alg string) string {
		return b64.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"k1"}`))
	}
	stranger := newSigner(t, "k1")
	own, err := json.Marshal(stranger.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	with := b64.EncodeToString([]byte(`{"alg":"ES256","kid":"k1","jwk":` + string(own) + `}`))
	tampered := b64.EncodeToString([]byte(strings.Replace(string(claims), "kube-proxy-x", "kube-proxy-y", 1)))
	last := map[bool]string{true: "B", false: "A"}[p[2][0] == 'A']
	return map[string]string{
		"alg none":              head("none") + "." + p[1] + ".",
		"alg none, signed":      head("none") + "." + p[1] + "." + p[2],
		"alg None":              head("None") + "." + p[1] + ".",
		"no alg":                b64.EncodeToString([]byte(`{"kid":"k1"}`)) + "." + p[1] + "." + p[2],
		"no signature":          p[0] + "." + p[1] + ".",
		"claims of another pod": p[0] + "." + tampered + "." + p[2],
		"another signature":     p[0] + "." + p[1] + "." + last + p[2][1:],
		"brings its own key":    with + "." + p[1] + "." + p[2],
		"two of them":           good + "." + good,
		"an end more":           good + ".",
		"JSON":                  `{"payload":"` + p[1] + `","signatures":[{"protected":"` + p[0] + `","signature":"` + p[2] + `"}]}`,
	}
}

// TestSymmetric: the public key, which everybody can read, is no key to sign
// with, whatever the head of a token says.
func TestSymmetric(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := signer{jose.JSONWebKey{Key: key, KeyID: "k1", Algorithm: string(jose.RS256), Use: "sig"}}
	d, o := renewed(t, s)
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	published, err := json.Marshal(s.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	d.have(hangUp)
	d.life(t, o, func(r *access.Reviewer) {
		for name, secret := range map[string][]byte{
			"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der, "JWK": published, "modulus": key.N.Bytes(),
		} {
			token := signWith(t, jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret, KeyID: "k1"}}, d.claims())
			is(t, "HS256 with the public key as "+name, who(t, r, token), "unknown")
		}
		pss := signWith(t, jose.SigningKey{Algorithm: jose.PS256, Key: s.key}, d.claims())
		is(t, "a kind of signature that API servers do not make", who(t, r, pss), "unknown")
		is(t, "RS256", who(t, r, s.sign(t, d.claims())), kubeProxy("").Username)
	})
}

// TestNeverAnswered: a genuine token of a pod that the API server has never been
// asked about is unknown.
func TestNeverAnswered(t *testing.T) {
	s := newSigner(t, "k1")
	d := newDesk(t)
	d.publishes(s.key)
	o := d.options(stateFile(t))
	d.life(t, o, func(r *access.Reviewer) {
		d.have(hangUp)
		is(t, "a genuine token", who(t, r, s.sign(t, d.claims())), "unknown")
	})
}

// TestGraceOver: what was said is too old, of the bearer or of the keys.
func TestGraceOver(t *testing.T) {
	s := newSigner(t, "k1")
	long := func(d *desk) string {
		return s.sign(t, d.claims(func(c map[string]any) { c["exp"] = d.clock().Add(1000 * time.Hour).Unix() }))
	}
	d, o := renewed(t, s)
	d.have(hangUp)
	d.life(t, o, func(r *access.Reviewer) {
		d.later(24*time.Hour - time.Minute)
		is(t, "within the grace", who(t, r, long(d)), kubeProxy("").Username)
		d.later(time.Minute)
		is(t, "after the grace", who(t, r, long(d)), "unknown")
	})
	// The keys are of now, but nobody has asked about the bearer for a day.
	d.have(nil)
	d.life(t, o, func(r *access.Reviewer) {
		d.have(hangUp)
		is(t, "keys of now", who(t, r, long(d)), "unknown")
	})
	// The bearer is of now, but nobody has told the keys for a day.
	d.have(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == keyPath {
			refusal(403, "Forbidden")(w, r)
			return
		}
		d.answer(w, r)
	})
	d.later(24 * time.Hour)
	d.life(t, o, func(r *access.Reviewer) {
		token := long(d)
		d.knows(token, kubeProxy("3"))
		is(t, "a bearer of now", who(t, r, token), kubeProxy("").Username)
		d.have(hangUp)
		is(t, "keys of before", who(t, r, long(d)), "unknown")
		is(t, "his last token", who(t, r, token), kubeProxy("").Username)
	})
}

// TestReachable: as long as the API server can be reached, a signature counts
// for nothing, even if it refuses to tell who that is.
func TestReachable(t *testing.T) {
	s := newSigner(t, "k1")
	for name, c := range map[string]struct {
		fault http.HandlerFunc
		want  string
	}{
		"forbidden":    {refusal(403, "Forbidden"), "unknown"},
		"unauthorized": {refusal(401, "Unauthorized"), "unknown"},
		"it says no":   {nil, "nobody"},
		"unavailable":  {refusal(503, "ServiceUnavailable"), kubeProxy("").Username},
		"too many":     {refusal(429, "TooManyRequests"), kubeProxy("").Username},
		"a page":       {says(200, "text/html", "<html>pay here</html>"), kubeProxy("").Username},
	} {
		t.Run(name, func(t *testing.T) {
			d, o := renewed(t, s)
			d.life(t, o, func(r *access.Reviewer) {
				d.have(c.fault)
				is(t, "a new token", who(t, r, s.sign(t, d.claims())), c.want)
			})
		})
	}
}

// TestSlow: an API server that takes its time is asked to the end.
func TestSlow(t *testing.T) {
	s := newSigner(t, "k1")
	d, o := renewed(t, s)
	d.life(t, o, func(r *access.Reviewer) {
		release := make(chan struct{})
		d.have(func(http.ResponseWriter, *http.Request) { <-release; panic(http.ErrAbortHandler) })
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := r.Who(ctx, s.sign(t, d.claims())); err == nil {
			t.Error("it is let in before the API server has not answered")
		}
		close(release)
	})
}

// TestKeysChange: keys that are new are read as soon as the API server accepts
// a token signed with one; those that it has withdrawn count no more; and what
// is no set of keys takes none away.
func TestKeysChange(t *testing.T) {
	old, young := newSigner(t, "k1"), newSigner(t, "k2")
	d, o := renewed(t, old)
	name := kubeProxy("").Username
	d.life(t, o, func(r *access.Reviewer) {
		d.publishes(young.key)
		sent := d.sentSoFar()
		token := young.sign(t, d.claims())
		d.knows(token, kubeProxy("2"))
		d.later(2 * time.Minute)
		is(t, "a token of the new key", who(t, r, token), name)
		d.read(t, r, sent)
		d.later(3 * time.Minute)
		is(t, "the token again", who(t, r, token), name)
		d.have(hangUp)
		is(t, "away, the next one", who(t, r, young.sign(t, d.claims())), name)
		is(t, "away, one of the old key", who(t, r, old.sign(t, d.claims())), "unknown")
	})
	for what, text := range map[string]string{
		"none": `{"keys":[]}`, "no set": `{}`, "no JSON": "<html>pay here</html>", "no public key": `{"keys":[{"kty":"oct","kid":"k1","k":"AAAA"}]}`,
		"without a name": strings.Replace(published(t, old), `"k1"`, `""`, 1),
	} {
		asked := make(chan struct{}, 1)
		d.have(func(w http.ResponseWriter, r *http.Request) {
			says(200, "application/jwk-set+json", text)(w, r)
			select {
			case asked <- struct{}{}:
			default:
			}
		})
		d.life(t, o, func(r *access.Reviewer) {
			<-asked
			time.Sleep(20 * time.Millisecond) // it may read what it was sent
			if got := access.Keys(r); len(got) != 1 || got[0] != "k2" {
				t.Errorf("%s: it has the keys %v", what, got)
			}
		})
	}
}

func published(t *testing.T, s signer) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{s.key.Public()}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
