// SPDX-License-Identifier: Apache-2.0

package clients_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// TestRights: a caller sees what the API server would let it see, and is
// refused in the same words.
func TestRights(t *testing.T) {
	w := begin(t, t.TempDir())
	token := account(t, "narrow", false)
	shop(t, "narrow", "till", []string{"a-1"})
	w.settled(t, "narrow", "till")
	for _, path := range []string{
		"/api/v1/namespaces/narrow/services", "/api/v1/namespaces/narrow/services/till", "/api/v1/namespaces/narrow/services?watch=1&timeoutSeconds=1&resourceVersion=0",
		"/api/v1/services", "/api/v1/services?watch=1&timeoutSeconds=1&resourceVersion=0", "/api/v1/services?fieldSelector=metadata.name%3Dtill",
		"/api/v1/namespaces/default/services", "/api/v1/namespaces/default/services/kubernetes", "/apis/discovery.k8s.io/v1/endpointslices",
		"/api/v1/nodes/a-1", "/api/v1/nodes?fieldSelector=metadata.name%3Da-1", "/api/v1/services?resourceVersion=x",
	} {
		for _, who := range []string{token, "nobody's"} {
			want, got := ask(t, server.Config, who, path, ""), ask(t, w.config(""), who, path, "")
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s (-api server +hub)\n%s", path, d)
			}
		}
	}
	asked := w.review.Stats().Asked
	for range 20 {
		if code, _, _ := get(t, w.config(token), "/api/v1/namespaces/narrow/services", ""); code != http.StatusOK {
			t.Fatal(code)
		}
	}
	if more := w.review.Stats().Asked - asked; more != 0 {
		t.Errorf("%d more questions for what was just answered", more)
	}
}

// code is the answer to a list of a namespace's Services.
func (w *world) code(t *testing.T, namespace, token string) int {
	t.Helper()
	code, _, _ := get(t, w.config(token), "/api/v1/namespaces/"+namespace+"/services", "")
	return code
}

// TestWithdrawn: a token and a right that are taken away end soon after.
func TestWithdrawn(t *testing.T) {
	w := begin(t, t.TempDir())
	token := account(t, "brief", false)
	if code := w.code(t, "brief", token); code != http.StatusOK {
		t.Fatal(code)
	}
	if err := admin(t).RbacV1().RoleBindings("brief").Delete(t.Context(), "reader-brief", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		w.later(3 * time.Minute) // longer than a yes is believed
		return expect(http.StatusForbidden, w.code(t, "brief", token))
	})
	if err := admin(t).CoreV1().ServiceAccounts("brief").Delete(t.Context(), "reader", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		w.later(3 * time.Minute)
		return expect(http.StatusUnauthorized, w.code(t, "brief", token))
	})
}

type codeError struct{ want, got int }

func (e codeError) Error() string {
	return "answered " + http.StatusText(e.got) + ", want " + http.StatusText(e.want)
}

func expect(want, got int) error {
	if want != got {
		return codeError{want, got}
	}
	return nil
}

// TestAlone: without its API server, and restarted, the hub answers those that
// it knows, at once, from disk; nobody else; and not for ever.
func TestAlone(t *testing.T) {
	dir := t.TempDir()
	w := begin(t, dir)
	known, stranger := account(t, "alone", false), account(t, "strange", false)
	shop(t, "alone", "till", []string{"a-1"})
	w.settled(t, "alone", "till")
	direct := rest.CopyConfig(server.Config)
	direct.BearerToken = known
	if code := w.code(t, "alone", known); code != http.StatusOK {
		t.Fatal(code)
	}
	if code := w.code(t, "alone", "nobody's"); code != http.StatusUnauthorized {
		t.Fatal(code)
	}
	eventually(t, func() error { // the keys are read in the background
		text, err := os.ReadFile(filepath.Join(dir, "access.json"))
		if err == nil && !strings.Contains(string(text), `"kid":`) {
			err = errors.New("the API server's keys are not on disk")
		}
		return err
	})
	w.later(3 * time.Minute) // longer than a yes is believed: the API server says it again
	if code := w.code(t, "alone", known); code != http.StatusOK {
		t.Fatal(code)
	}
	renewed, other := tokenOf(t, "alone"), tokenOf(t, "strange")
	w.stop()
	text, err := os.ReadFile(filepath.Join(dir, "access.json"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(dir, "access.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("access.json: %v, %v", info.Mode(), err)
	}
	for part := range strings.SplitSeq(known, ".") {
		if strings.Contains(string(text), part) {
			t.Error("a part of the token is on disk")
		}
	}

	w = begin(t, dir)
	w.line.cut()
	w.later(3 * time.Minute) // longer than a yes is believed
	began := time.Now()
	if code := w.code(t, "alone", known); code != http.StatusOK {
		t.Errorf("alone, a caller of before: %d", code)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the first answer took %s", took)
	}
	if code := w.code(t, "alone", stranger); code != http.StatusServiceUnavailable {
		t.Errorf("alone, a caller that was never seen: %d", code)
	}
	if code := w.code(t, "alone", renewed); code != http.StatusOK {
		t.Errorf("alone, a new token of a caller of before: %d", code)
	}
	if code := w.code(t, "strange", other); code != http.StatusServiceUnavailable {
		t.Errorf("alone, a new token of a caller that was never seen: %d", code)
	}
	if code := w.code(t, "alone", renewed[:len(renewed)-6]+"AAAAAA"); code != http.StatusServiceUnavailable {
		t.Errorf("alone, a new token with another signature: %d", code)
	}
	if code := w.code(t, "strange", known); code != http.StatusServiceUnavailable {
		t.Errorf("alone, a right that was never asked for: %d", code)
	}
	if code, _, text := get(t, w.config(known), "/api/v1/namespaces/alone/pods", ""); code != http.StatusServiceUnavailable {
		t.Errorf("alone, what is not the hub's: %d %s", code, text)
	}
	if w.review.Stats().Graced == 0 {
		t.Error("no answer of before was used")
	}
	w.later(25 * time.Hour)
	if code := w.code(t, "alone", known); code != http.StatusServiceUnavailable {
		t.Errorf("after the grace: %d", code)
	}
	if code := w.code(t, "alone", renewed); code != http.StatusServiceUnavailable {
		t.Errorf("after the grace, a new token: %d", code)
	}
	if err := admin(t).CoreV1().ServiceAccounts("alone").Delete(t.Context(), "reader", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.line.mend()
	for _, token := range []string{renewed, known} {
		eventually(t, func() error { // the API server itself may say yes for a moment
			w.later(3 * time.Minute)
			return expect(http.StatusUnauthorized, w.code(t, "alone", token))
		})
	}
	eventually(t, func() error { return expect(http.StatusOK, w.code(t, "strange", stranger)) })
}

// TestDamagedMemory: a file of answers that is cut is no file.
func TestDamagedMemory(t *testing.T) {
	dir := t.TempDir()
	w := begin(t, dir)
	token := account(t, "damage", false)
	if code := w.code(t, "damage", token); code != http.StatusOK {
		t.Fatal(code)
	}
	w.stop()
	path := filepath.Join(dir, "access.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text[:len(text)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	w = begin(t, dir)
	w.line.cut()
	if _, err := w.review.Who(context.Background(), token); err == nil {
		t.Error("a token is known from half a file")
	}
}
