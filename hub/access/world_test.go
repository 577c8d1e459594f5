// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/hub/access"
)

// desk is an API server that reviews and publishes its keys.
type desk struct {
	url string

	mu sync.Mutex
	// now is the clock of the test.
	now time.Time
	// users are whose tokens these are, rights what is allowed: "name verb resource".
	users  map[string]authnv1.UserInfo
	rights map[string]bool
	keys   []jose.JSONWebKey
	// fault answers instead, if it is set.
	fault http.HandlerFunc
	asked map[string]int // by path
	sent  int            // how often the keys were
}

const (
	tokenReviews = "/apis/authentication.k8s.io/v1/tokenreviews"
	rightReviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
	keyPath      = "/openid/v1/jwks"
)

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{
		now:   time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC),
		users: map[string]authnv1.UserInfo{}, rights: map[string]bool{}, asked: map[string]int{},
	}
	s := httptest.NewServer(d)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	d.url = s.URL
	return d
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	d.asked[r.URL.Path]++
	fault := d.fault
	d.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	d.answer(w, r)
}

// answer does what an API server does.
func (d *desk) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == keyPath {
		d.publish(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	o, _, err2 := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil || err2 != nil {
		http.Error(w, "what?", http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	switch o := o.(type) {
	case *authnv1.TokenReview:
		o.Status.User, o.Status.Authenticated = d.users[o.Spec.Token]
		o.Spec.Token = ""
	case *authzv1.SubjectAccessReview:
		o.Status.Allowed = d.rights[o.Spec.User+" "+o.Spec.ResourceAttributes.Verb+" "+o.Spec.ResourceAttributes.Resource]
		if !o.Status.Allowed {
			o.Status.Reason = "nobody said so"
		}
	}
	d.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(runtime.EncodeOrDie(scheme.Codecs.LegacyCodec(authnv1.SchemeGroupVersion, authzv1.SchemeGroupVersion), o)))
}

func (d *desk) publish(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Header.Get("Accept") != "application/jwk-set+json" { // as an API server does
		http.Error(w, "406: Not Acceptable", http.StatusNotAcceptable)
		return
	}
	d.sent++
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: d.keys})
}

// have lets the desk answer like this from now on; nil: as it should.
func (d *desk) have(fault http.HandlerFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

// hangUp is a line that is cut.
func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// says answers everything with a text.
func says(code int, kind, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, text)
	}
}

// refusal is a Status of the API.
func refusal(code int, reason string) http.HandlerFunc {
	return says(code, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"`+reason+`","message":"on purpose"}`)
}

// half breaks off in an answer that says yes.
func half(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", "1000")
	_, _ = io.WriteString(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,`)
}

// count is how often a path was asked for since the last call.
func (d *desk) count(path string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.asked[path]
	d.asked[path] = 0
	return n
}

// sentSoFar is how often the keys were sent.
func (d *desk) sentSoFar() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent
}

func (d *desk) clock() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *desk) later(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(by)
}

// knows lets a token be somebody's, forgets lets it be nobody's.
func (d *desk) knows(token string, u authnv1.UserInfo) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users[token] = u
}

func (d *desk) forgets(token string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.users, token)
}

func (d *desk) allow(right string, yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rights[right] = yes
}

// options are those of a Reviewer with that file.
func (d *desk) options(path string) access.Options {
	return access.Options{
		Config: &rest.Config{Host: d.url}, Path: path, Grace: 24 * time.Hour, Now: d.clock, Log: slog.New(slog.DiscardHandler),
	}
}

func reviewer(t *testing.T, o access.Options) *access.Reviewer {
	t.Helper()
	r, err := access.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// life runs a Reviewer, which has the desk's keys when part begins if the desk
// answers, and stops it in an orderly way.
func (d *desk) life(t *testing.T, o access.Options, part func(*access.Reviewer)) {
	t.Helper()
	d.mu.Lock()
	answers := d.fault == nil
	d.mu.Unlock()
	sent := d.sentSoFar()
	r := reviewer(t, o)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
	defer func() { stop(); <-done }()
	if answers {
		d.read(t, r, sent)
	}
	part(r)
}

// read waits until the keys were sent more often than that, and the Reviewer
// has those that are published.
func (d *desk) read(t *testing.T, r *access.Reviewer, sent int) {
	t.Helper()
	done := func() (bool, []string) {
		d.mu.Lock()
		defer d.mu.Unlock()
		var want []string
		for _, k := range d.keys {
			want = append(want, k.KeyID)
		}
		return d.sent > sent && slices.Equal(access.Keys(r), want), want
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		ok, want := done()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it has the keys %v, want %v", access.Keys(r), want)
		}
	}
}

// signer is a key with a name.
type signer struct {
	key jose.JSONWebKey
}

func newSigner(t *testing.T, name string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{jose.JSONWebKey{Key: key, KeyID: name, Algorithm: string(jose.ES256), Use: "sig"}}
}

func (d *desk) publishes(keys ...jose.JSONWebKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys = nil
	for _, k := range keys {
		d.keys = append(d.keys, k.Public())
	}
}

// claims are those of a token of kube-proxy's pod on a-1, an hour from now; the
// edits come last.
func (d *desk) claims(edits ...func(map[string]any)) map[string]any {
	now := d.clock()
	c := map[string]any{
		"iss": "https://kubernetes.default.svc", "sub": "system:serviceaccount:kube-system:kube-proxy",
		"aud": []string{"https://kubernetes.default.svc", "k3s"},
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": rand.Text(),
		"kubernetes.io": map[string]any{
			"namespace":      "kube-system",
			"node":           map[string]any{"name": "a-1", "uid": "node-uid"},
			"pod":            map[string]any{"name": "kube-proxy-x", "uid": "pod-uid"},
			"serviceaccount": map[string]any{"name": "kube-proxy", "uid": "account-uid"},
			"warnafter":      now.Add(50 * time.Minute).Unix(),
		},
	}
	for _, edit := range edits {
		edit(c)
	}
	return c
}

// sign makes a token.
func (s signer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	return signWith(t, jose.SigningKey{Algorithm: jose.SignatureAlgorithm(s.key.Algorithm), Key: s.key}, claims)
}

func signWith(t *testing.T, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// kubeProxy is whose those tokens are; each has an id of its own.
func kubeProxy(credential string) authnv1.UserInfo {
	return authnv1.UserInfo{
		Username: "system:serviceaccount:kube-system:kube-proxy", UID: "account-uid",
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
		Extra: map[string]authnv1.ExtraValue{
			"authentication.kubernetes.io/credential-id": {"JTI=" + credential},
			"authentication.kubernetes.io/pod-name":      {"kube-proxy-x"},
		},
	}
}

// watchServices is what kube-proxy does, and the right to it.
var watchServices = access.Deed{Verb: "watch", Version: "v1", Resource: "services"}

const mayWatch = "system:serviceaccount:kube-system:kube-proxy watch services"

func stateFile(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "callers.json")
}

// logged is a logger to a text.
func logged() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return buf.Write(p)
	}), nil))
	return log, func() string {
		mu.Lock()
		defer mu.Unlock()
		return buf.String()
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// parts of a token.
func parts(token string) []string { return slices.Collect(strings.SplitSeq(token, ".")) }
