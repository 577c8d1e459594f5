// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	certv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cluster"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/test/apiserver"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// installTunnel installs the chart's rights and policies of the tunnel.
func installTunnel(t *testing.T) {
	t.Helper()
	ns := "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + namespace + "}\n---\n"
	if err := server.ApplyYAML(t.Context(), ns+apiserver.Chart(t, namespace,
		"agent/rbac.yaml", "manager/rbac.yaml", "manager/authority.yaml", "gateway/rbac.yaml", "policies/requests.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error { // policies take effect some time after they are written
		if err := createRequest(server.Config, requestFor(t, identity.Agent, "nobody")); err == nil {
			return errors.New("the policy is not in force")
		}
		return nil
	})
	removeRequests(t)
}

// clock is a clock that a test can move.
type clock struct {
	mu  sync.Mutex
	add time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.add)
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add += d
}

// dates makes the answers of the API server bear the time of this clock, which
// a test has moved for everybody.
func (c *clock) dates(cfg *rest.Config) *rest.Config {
	cfg = rest.CopyConfig(cfg)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			if err == nil {
				resp.Header.Set("Date", c.now().UTC().Format(http.TimeFormat))
			}
			return resp, err
		})
	})
	return cfg
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// asPod returns the token of a pod of that account on node shop-1.
func asPod(t *testing.T, account, pod string) *rest.Config {
	t.Helper()
	ctx, c := t.Context(), client(t)
	p, err := c.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: namespace},
		Spec: corev1.PodSpec{
			NodeName: "shop-1", ServiceAccountName: account,
			Containers: []corev1.Container{{Name: "x", Image: "magpie"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		zero := int64(0)
		_ = c.CoreV1().Pods(namespace).Delete(context.Background(), pod, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	})
	return asAccount(t, account, &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: p.Name, UID: p.UID})
}

func asAccount(t *testing.T, account string, ref *authv1.BoundObjectReference) *rest.Config {
	t.Helper()
	r, err := client(t).CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account,
		&authv1.TokenRequest{Spec: authv1.TokenRequestSpec{BoundObjectRef: ref}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := rest.AnonymousClientConfig(server.Config)
	cfg.BearerToken = r.Status.Token
	return cfg
}

// signer runs the manager's side of the tunnel with the manager's own rights.
type signer struct {
	*cluster.Issuer
	mu       sync.Mutex
	answered []identity.Decision
}

func startSigner(t *testing.T, c *clock) *signer {
	t.Helper()
	cfg := c.dates(asAccount(t, "magpie-manager", nil))
	m, err := cluster.NewManager(cfg, namespace)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{}
	s.Issuer, err = cluster.NewIssuer(cfg, m, cluster.IssuerOptions{Namespace: namespace, Now: c.now, Log: slog.New(slog.DiscardHandler), Answered: func(d identity.Decision) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answered = append(s.answered, d)
	}})
	if err != nil {
		t.Fatal(err)
	}
	report := func(r reconcile.Round) {
		if r.Err != nil && !r.NotReady() && t.Context().Err() == nil {
			t.Logf("round %s: %v", r.Loop, r.Err)
		}
	}
	background(t, m.Run, s.Run,
		(&reconcile.Loop[cluster.Safe, identity.Vault]{
			Name: "authority", Read: s.Safe, Desire: cluster.Advance, World: s.Vault(),
			Wake: s.Wake(), Gap: 20 * time.Millisecond, Every: time.Second, Report: report,
		}).Run,
		(&reconcile.Loop[cluster.Safe, []plan.Manifest]{
			Name: "bundle", Read: s.Safe, Desire: cluster.BundleOf, World: s.Bundle(),
			Wake: s.Wake(), Gap: 20 * time.Millisecond, Every: time.Second, Report: report,
		}).Run,
		(&reconcile.Loop[[]*certv1.CertificateSigningRequest, []identity.Decision]{
			Name: "requests", Read: s.Requests, World: s.Answers(),
			Desire: func(in []*certv1.CertificateSigningRequest) ([]identity.Decision, error) {
				d, _ := identity.Decide(in, s.Rules())
				return d, nil
			},
			Wake: s.Wake(), Gap: 20 * time.Millisecond, Every: time.Second, Report: report,
		}).Run,
	)
	return s
}

// background runs until the test ends.
func background(t *testing.T, runs ...func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range runs {
		wg.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// end holds one end of the tunnel: certificates, and how to stop them.
type end struct {
	*cluster.Certificates
	stop func()
	log  *bytes.Buffer
}

func startEnd(t *testing.T, cfg *rest.Config, o cluster.CertificateOptions) *end {
	t.Helper()
	e := &end{log: &bytes.Buffer{}}
	o.Log = slog.New(slog.NewTextHandler(e.log, nil))
	var err error
	if e.Certificates, err = cluster.NewCertificates(cfg, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = e.Run(ctx) }()
	e.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(func() {
		e.stop()
		if t.Failed() {
			t.Logf("%s %s:\n%s", o.Kind, o.Name, e.log)
		}
	})
	return e
}

// issued returns whom the certificate names, once there is one that the
// roots have signed.
func (e *end) issued(t *testing.T, kind identity.Kind, now func() time.Time) identity.Who {
	t.Helper()
	var who identity.Who
	eventually(t, 20*time.Second, func() error {
		c, err := e.GetCertificate(nil)
		if err != nil {
			return errors.Join(err, e.Trouble())
		}
		who, err = identity.Verify(certs(c.Certificate), e.Roots(), now(), kind)
		return err
	})
	return who
}

// removeRequests deletes all requests, before and after.
func removeRequests(t *testing.T) {
	t.Helper()
	all := func() {
		if err := client(t).CertificatesV1().CertificateSigningRequests().DeleteCollection(
			context.Background(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	}
	all()
	t.Cleanup(all)
}

// TestCertificates: with the chart's own rights, an agent and a gateway get
// their certificates, keep them through a restart without an API server, and
// renew them in time.
func TestCertificates(t *testing.T) {
	empty(t)
	installTunnel(t)
	node := makeNode(t, "shop-1", "10.42.0.0/24")
	var c clock
	s := startSigner(t, &c)

	dir := t.TempDir()
	options := cluster.CertificateOptions{Kind: identity.Agent, Name: "shop-1", Dir: dir, Now: c.now}
	agent := startEnd(t, c.dates(asPod(t, "magpie-agent", "agent-shop-1")), options)
	who := agent.issued(t, identity.Agent, c.now)
	if who.Name != "shop-1" || who.UID != string(node.UID) || who.Expires.Sub(c.now()) < 23*time.Hour {
		t.Errorf("the agent's certificate says %+v, want shop-1 with UID %s for a day", who, node.UID)
	}
	gateway := startEnd(t, c.dates(asPod(t, "magpie-gateway", "magpie-gateway-0")), cluster.CertificateOptions{
		Kind: identity.Gateway, Name: "magpie-gateway-0", Dir: t.TempDir(), Now: c.now,
	})
	if who := gateway.issued(t, identity.Gateway, c.now); who.Name != "magpie-gateway-0" {
		t.Errorf("the gateway's certificate says %+v", who)
	}

	agent.stop()
	private(t, dir)
	nowhere := rest.AnonymousClientConfig(server.Config)
	nowhere.Host = "https://127.0.0.1:1"
	again := startEnd(t, nowhere, options)
	if got, ok := again.Who(); !ok || got != who || again.Roots() == nil {
		t.Errorf("after a restart without an API server: %+v, %t, want %+v", got, ok, who)
	}
	again.stop()

	c.move(19 * time.Hour) // past two thirds and a tenth of 24 h
	changed := startEnd(t, c.dates(asPod(t, "magpie-agent", "agent-shop-1b")), options)
	eventually(t, 20*time.Second, func() error {
		if renewed, _ := changed.Who(); renewed.Expires.Sub(c.now()) < 23*time.Hour {
			return fmt.Errorf("not renewed: expires %s", renewed.Expires)
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.answered {
		if !d.Verdict.Granted() {
			t.Errorf("refused: %+v", d)
		}
	}
}

// private fails if anybody else could read what is in dir.
func private(t *testing.T, dir string) {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		if i, err := f.Info(); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600 (%v)", f.Name(), i.Mode(), err)
		}
	}
	if want := []string{"tunnel-ca.crt", "tunnel.pem"}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
}

// TestCertificatesWithoutDiskOrClock: a disk that takes nothing and a clock that
// is days off do not keep an agent from its certificate, nor make it ask again
// and again, and it knows how wrong the clock is. This one has its kubelet's
// credentials.
func TestCertificatesWithoutDiskOrClock(t *testing.T) {
	empty(t)
	installTunnel(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	var c clock
	startSigner(t, &c)
	for name, off := range map[string]time.Duration{"ahead": 40 * time.Hour, "behind": -40 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			removeRequests(t)
			wrong := clock{add: off}
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "tunnel.pem", "in the way"), 0o700); err != nil {
				t.Fatal(err)
			}
			agent := startEnd(t, kubelet("shop-1"), cluster.CertificateOptions{
				Kind: identity.Agent, Name: "shop-1", Dir: dir, Now: wrong.now,
			})
			agent.issued(t, identity.Agent, agent.Now)
			settled := count(t)
			time.Sleep(time.Second)
			if now := count(t); now != settled || settled != 1 {
				t.Errorf("%d requests, then %d, want 1", settled, now)
			}
			if told := agent.ClockOff(); (told-off).Abs() > 5*time.Second || time.Since(agent.Now()).Abs() > 5*time.Second {
				t.Errorf("it says it is off by %s and the time is %s", told, agent.Now())
			}
			agent.stop()
			if text := agent.log.String(); strings.Count(text, "clock is wrong") != 1 {
				t.Errorf("the log does not say it once:\n%s", text)
			}
		})
	}
}

// TestCertificatesAreReplaced: a Node that was deleted and made again, and an
// authority that nobody trusts any more, cost a certificate its life at once.
func TestCertificatesAreReplaced(t *testing.T) {
	empty(t)
	installTunnel(t)
	node := makeNode(t, "shop-1", "10.42.0.0/24")
	var c clock
	s := startSigner(t, &c)
	former := c.dates(asPod(t, "magpie-agent", "agent-shop-1"))
	options := cluster.CertificateOptions{
		Kind: identity.Agent, Name: "shop-1", Dir: t.TempDir(), Now: c.now, UID: func() string { return string(node.UID) },
	}
	agent := startEnd(t, former, options)
	agent.issued(t, identity.Agent, c.now)
	agent.stop()

	if err := client(t).CoreV1().Nodes().Delete(t.Context(), "shop-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	node = makeNode(t, "shop-1", "10.42.0.0/24")
	c.move(2 * time.Minute)
	old := startEnd(t, former, options)
	eventually(t, 10*time.Second, func() error {
		if err := old.Trouble(); err == nil || !strings.Contains(err.Error(), "TunnelNodeReplaced") {
			return fmt.Errorf("the token of a former Node: %w", err)
		}
		return nil
	})
	old.stop()
	agent = startEnd(t, c.dates(asPod(t, "magpie-agent", "agent-shop-1b")), options)
	eventually(t, 10*time.Second, func() error {
		if who, _ := agent.Who(); who.UID != string(node.UID) {
			return fmt.Errorf("certificate of %+v, want UID %s", who, node.UID)
		}
		return nil
	})

	c.move(2 * time.Minute)
	secrets := client(t).CoreV1().Secrets(api.TunnelCANamespace)
	secret, err := secrets.Get(t.Context(), api.TunnelCAName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	secret.Data = nil
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, func() error {
		safe, err := s.Safe()
		own, err2 := agent.GetCertificate(nil)
		if err := errors.Join(err, err2, safe.Err); err != nil || !safe.Filled {
			return fmt.Errorf("no authority: %w", err)
		}
		return own.Leaf.CheckSignatureFrom(safe.Vault.Sign.Certificate)
	})
	agent.issued(t, identity.Agent, c.now)
}

// count returns how many requests there are.
func count(t *testing.T) int {
	t.Helper()
	list, err := client(t).CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return len(list.Items)
}

// TestOtherNames: an agent that asks for another node's certificate is refused
// by the manager even if it goes past the admission policy, and by that policy.
func TestOtherNames(t *testing.T) {
	empty(t)
	installTunnel(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	makeNode(t, "shop-2", "10.42.1.0/24")
	var c clock
	s := startSigner(t, &c)
	cfg := asPod(t, "magpie-agent", "agent-shop-1")

	refused(t, "a request named after another", createRequest(cfg, requestFor(t, identity.Agent, "shop-2")), "has to be magpie-tunnel-agent.shop-1.")
	liar := startEnd(t, cfg, cluster.CertificateOptions{Kind: identity.Agent, Name: "shop-2", Dir: t.TempDir(), Now: c.now})
	eventually(t, 10*time.Second, func() error {
		if err := liar.Trouble(); err == nil || !strings.Contains(err.Error(), "forbidden") {
			return fmt.Errorf("the policy does not refuse: %w", err)
		}
		return nil
	})
	liar.stop()

	// A request whose own name is right and that asks for another inside.
	csr := requestFor(t, identity.Agent, "shop-2")
	csr.Name = "magpie-tunnel-agent.shop-1.0123456789abcdef"
	if err := createRequest(cfg, csr); err != nil {
		t.Fatal(err)
	}
	var got *certv1.CertificateSigningRequest
	eventually(t, 10*time.Second, func() error {
		var err error
		got, err = client(t).CertificatesV1().CertificateSigningRequests().Get(t.Context(), csr.Name, metav1.GetOptions{})
		if err == nil && len(got.Status.Conditions) == 0 {
			err = errors.New("no answer yet")
		}
		return err
	})
	denied := got.Status.Conditions[0]
	if denied.Type != certv1.CertificateDenied || denied.Reason != "TunnelNotItsName" || len(got.Status.Certificate) > 0 ||
		!strings.Contains(denied.Message, `"shop-1" asked for the certificate of "shop-2"`) {
		t.Errorf("answer: %+v", denied)
	}
	eventually(t, 5*time.Second, func() error { // it is told when its watch has seen the answer
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.answered) != 1 || s.answered[0].Verdict.Code != identity.NoteNotItsName {
			return fmt.Errorf("answered: %+v", s.answered)
		}
		return nil
	})
}

// TestWhoMayAsk goes through the accounts and signers.
func TestWhoMayAsk(t *testing.T) {
	empty(t)
	installTunnel(t)
	makeNode(t, "shop-1", "10.42.0.0/24")
	var c clock
	startSigner(t, &c)
	agent := asPod(t, "magpie-agent", "agent-shop-1")
	gateway := asPod(t, "magpie-gateway", "magpie-gateway-0")
	refused(t, "the gateway's signer", createRequest(agent, requestFor(t, identity.Gateway, "shop-1")), "may not ask the signer")
	for name, x := range map[string]struct {
		cfg    *rest.Config
		change func(*certv1.CertificateSigningRequest)
		kind   identity.Kind
		want   string // "" is a certificate
	}{
		"a cluster certificate": {agent, func(r *certv1.CertificateSigningRequest) { r.Spec.SignerName = certv1.KubeAPIServerClientSignerName }, identity.Agent, "may not ask"},
		"a node without a pod":  {asAccount(t, "magpie-agent", nil), nil, identity.Agent, "does not name a node"},
		"another pod's name":    {gateway, nil, identity.Gateway, "has to be magpie-tunnel-gateway.magpie-gateway-0."},
		"its kubelet":           {kubelet("shop-1"), nil, identity.Agent, ""},
		"another's kubelet":     {kubelet("shop-2"), nil, identity.Agent, "has to be magpie-tunnel-agent.shop-2."},
		"an administrator":      {server.Config, nil, identity.Agent, "may not ask"},
	} {
		t.Run(name, func(t *testing.T) {
			csr := requestFor(t, x.kind, "shop-1")
			if x.change != nil {
				x.change(csr)
			}
			err := createRequest(x.cfg, csr)
			if x.want != "" {
				refused(t, name, err, x.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, 10*time.Second, func() error {
				got, err := client(t).CertificatesV1().CertificateSigningRequests().Get(t.Context(), csr.Name, metav1.GetOptions{})
				if err == nil && len(got.Status.Certificate) == 0 {
					err = fmt.Errorf("no certificate: %+v", got.Status)
				}
				return err
			})
		})
	}
}

// TestAuthorityIsKept: what is in the Secret is never written over, and a
// wish rotates it, with both in the bundle.
func TestAuthorityIsKept(t *testing.T) {
	empty(t)
	installTunnel(t)
	var c clock
	s := startSigner(t, &c)
	secrets := client(t).CoreV1().Secrets(api.TunnelCANamespace)
	var first *corev1.Secret
	eventually(t, 10*time.Second, func() (err error) {
		first, err = secrets.Get(t.Context(), api.TunnelCAName, metav1.GetOptions{})
		if err == nil && len(first.Data) == 0 {
			err = errors.New("empty")
		}
		return err
	})

	first.Data["sign.key"] = []byte("not a key")
	broken, err := secrets.Update(t.Context(), first, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, func() error {
		if safe, err := s.Safe(); err != nil || safe.Err == nil {
			return fmt.Errorf("damage is not seen: %w", err)
		}
		return nil
	})
	time.Sleep(300 * time.Millisecond) // several rounds
	after, err := secrets.Get(t.Context(), api.TunnelCAName, metav1.GetOptions{})
	if err != nil || after.ResourceVersion != broken.ResourceVersion {
		t.Errorf("the damaged Secret was written: %v", err)
	}

	after.Data = nil // an operator's way to a new one
	after.Annotations = map[string]string{api.AnnotationRotate: c.now().Add(time.Minute).UTC().Format(time.RFC3339)}
	if _, err := secrets.Update(t.Context(), after, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	bundled := func(want int) func() error {
		return func() error {
			m, err := client(t).CoreV1().ConfigMaps(api.TunnelCANamespace).Get(t.Context(), api.TunnelCAName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			safe, err := s.Safe()
			if n := strings.Count(m.Data[api.TunnelCABundle], "BEGIN CERT"); err != nil || n != want || m.Data[api.TunnelCABundle] != string(safe.Vault.Bundle()) {
				return fmt.Errorf("%d authorities in the bundle, want %d: %w", n, want, err)
			}
			return nil
		}
	}
	eventually(t, 10*time.Second, bundled(1))
	c.move(2 * time.Minute)
	eventually(t, 10*time.Second, bundled(2)) // announced
	c.move(identity.Announce)
	eventually(t, 10*time.Second, func() error {
		if safe, _ := s.Safe(); safe.Vault.Old == nil {
			return errors.New("the next authority does not sign yet")
		}
		return bundled(2)()
	})
	c.move(identity.Retire)
	eventually(t, 10*time.Second, bundled(1))
}

func requestFor(t *testing.T, kind identity.Kind, name string) *certv1.CertificateSigningRequest {
	t.Helper()
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := identity.NewRequest(rand.Reader, key, kind, name)
	if err != nil {
		t.Fatal(err)
	}
	own, err := identity.RequestName(kind, name, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return &certv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: own}, Spec: identity.RequestSpec(kind, text)}
}

func createRequest(cfg *rest.Config, csr *certv1.CertificateSigningRequest) error {
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	_, err = c.CertificatesV1().CertificateSigningRequests().Create(context.Background(), csr, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// kubelet returns the rights of a node's kubelet.
func kubelet(node string) *rest.Config {
	cfg := rest.CopyConfig(server.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:node:" + node, Groups: []string{"system:nodes", "system:authenticated"}}
	return cfg
}

func certs(chain [][]byte) []*x509.Certificate {
	var out []*x509.Certificate
	for _, der := range chain {
		if c, err := x509.ParseCertificate(der); err == nil {
			out = append(out, c)
		}
	}
	return out
}
