// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	authnv1 "k8s.io/api/authentication/v1"

	"github.com/magpie-edge/magpie/hub/access"
)

// who is the answer in a word: a name, "nobody", "unknown".
func who(t *testing.T, r *access.Reviewer, token string) string {
	t.Helper()
	u, err := r.Who(t.Context(), token)
	switch {
	case errors.Is(err, access.ErrUnauthenticated):
		return "nobody"
	case errors.Is(err, access.ErrUnknown):
		return "unknown"
	case err != nil:
		t.Fatal(err)
	}
	return u.Name
}

// may is the answer in a word: "yes", "no", "unknown".
func may(t *testing.T, r *access.Reviewer, u access.User, d access.Deed) string {
	t.Helper()
	err := r.May(t.Context(), u, d)
	var no *access.ForbiddenError
	switch {
	case err == nil:
		return "yes"
	case errors.As(err, &no):
		return "no"
	case errors.Is(err, access.ErrUnknown):
		return "unknown"
	}
	t.Fatal(err)
	return ""
}

func is(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

// TestBelieved: a yes is believed for two minutes, a no for ten seconds, and so
// what is taken away, or given, counts then.
func TestBelieved(t *testing.T) {
	d := newDesk(t)
	d.knows("good", kubeProxy("1"))
	d.allow(mayWatch, true)
	r := reviewer(t, d.options(""))
	name := kubeProxy("").Username
	for range 3 {
		is(t, "good", who(t, r, "good"), name)
		is(t, "bad", who(t, r, "bad"), "nobody")
		is(t, "right", may(t, r, access.User{Name: name}, watchServices), "yes")
		is(t, "no right", may(t, r, access.User{Name: "eve"}, watchServices), "no")
	}
	if n, m := d.count(tokenReviews), d.count(rightReviews); n != 2 || m != 2 {
		t.Errorf("asked %d times about tokens and %d about rights, want 2 and 2", n, m)
	}
	d.forgets("good")
	d.knows("bad", authnv1.UserInfo{Username: "eve"})
	d.allow(mayWatch, false)
	d.allow("eve watch services", true)
	d.later(9 * time.Second)
	is(t, "bad, too soon", who(t, r, "bad"), "nobody")
	is(t, "right given, too soon", may(t, r, access.User{Name: "eve"}, watchServices), "no")
	d.later(2 * time.Second)
	is(t, "bad, now somebody's", who(t, r, "bad"), "eve")
	is(t, "right given", may(t, r, access.User{Name: "eve"}, watchServices), "yes")
	d.later(100 * time.Second)
	is(t, "good, too soon", who(t, r, "good"), name)
	is(t, "right withdrawn, too soon", may(t, r, access.User{Name: name}, watchServices), "yes")
	d.later(10 * time.Second)
	is(t, "good, withdrawn", who(t, r, "good"), "nobody")
	is(t, "right withdrawn", may(t, r, access.User{Name: name}, watchServices), "no")
	// What was refused last is refused while the API server is away, too.
	d.have(hangUp)
	d.later(time.Hour)
	is(t, "good, withdrawn, away", who(t, r, "good"), "nobody")
	is(t, "right withdrawn, away", may(t, r, access.User{Name: name}, watchServices), "no")
}

// TestReason: what a ForbiddenError carries is the API server's.
func TestReason(t *testing.T) {
	d := newDesk(t)
	var no *access.ForbiddenError
	err := reviewer(t, d.options("")).May(t.Context(), access.User{Name: "eve"}, watchServices)
	if !errors.As(err, &no) || no.Reason != "nobody said so" {
		t.Error(err)
	}
}

// TestNotAsked: what can be no token costs the API server nothing.
func TestNotAsked(t *testing.T) {
	d := newDesk(t)
	r := reviewer(t, d.options(""))
	for _, token := range []string{"", strings.Repeat("x", 16<<10+1)} {
		is(t, "no token", who(t, r, token), "nobody")
	}
	if n := d.count(tokenReviews); n != 0 {
		t.Errorf("asked %d times", n)
	}
	is(t, "a long one", who(t, r, strings.Repeat("x", 16<<10)), "nobody")
	if n := d.count(tokenReviews); n != 1 {
		t.Errorf("asked %d times about a long one", n)
	}
}

// TestTellApart: a right is one user's to one deed; only the token's id is no
// part of the user.
func TestTellApart(t *testing.T) {
	d := newDesk(t)
	r := reviewer(t, d.options(""))
	u := access.User{Name: "u", UID: "1", Groups: []string{"g"}, Extra: map[string][]string{"pod": {"p"}}}
	asks := func(what string, want int, u access.User, deed access.Deed) {
		t.Helper()
		_ = r.May(t.Context(), u, deed)
		if n := d.count(rightReviews); n != want {
			t.Errorf("%s: asked %d times, want %d", what, n, want)
		}
	}
	asks("the first", 1, u, watchServices)
	asks("the same", 0, u, watchServices)
	again := u
	again.Extra = map[string][]string{"pod": {"p"}, "authentication.kubernetes.io/credential-id": {"JTI=9"}}
	asks("another token", 0, again, watchServices)
	if len(again.Extra) != 2 {
		t.Error("the caller's User was changed")
	}
	for what, edit := range map[string]func(*access.User, *access.Deed){
		"name":           func(u *access.User, _ *access.Deed) { u.Name = "v" },
		"uid":            func(u *access.User, _ *access.Deed) { u.UID = "2" },
		"groups":         func(u *access.User, _ *access.Deed) { u.Groups = []string{"g", "system:masters"} },
		"no groups":      func(u *access.User, _ *access.Deed) { u.Groups = nil },
		"extra":          func(u *access.User, _ *access.Deed) { u.Extra = map[string][]string{"pod": {"q"}} },
		"verb":           func(_ *access.User, d *access.Deed) { d.Verb = "list" },
		"group":          func(_ *access.User, d *access.Deed) { d.Group = "discovery.k8s.io" },
		"version":        func(_ *access.User, d *access.Deed) { d.Version = "v2" },
		"resource":       func(_ *access.User, d *access.Deed) { d.Resource = "nodes" },
		"namespace":      func(_ *access.User, d *access.Deed) { d.Namespace = "shop" },
		"object":         func(_ *access.User, d *access.Deed) { d.Name = "till" },
		"field selector": func(_ *access.User, d *access.Deed) { d.FieldSelector = "metadata.name=till" },
		"label selector": func(_ *access.User, d *access.Deed) { d.LabelSelector = "app=till" },
	} {
		v, deed := u, watchServices
		edit(&v, &deed)
		asks(what, 1, v, deed)
	}
}

// TestAway: whatever is in place of an answer, the last yes holds for the
// grace, and no longer; nobody else is let in.
func TestAway(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"cut":            hangUp,
		"too many":       refusal(429, "TooManyRequests"),
		"internal error": refusal(500, "InternalError"),
		"unavailable":    refusal(503, "ServiceUnavailable"),
		"forbidden":      refusal(403, "Forbidden"),
		"unauthorized":   refusal(401, "Unauthorized"),
		"half a message": half,
		"no message":     says(200, "application/json", ""),
		"another kind":   says(200, "application/json", `{"kind":"Pod","apiVersion":"v1","status":{"authenticated":true,"allowed":true}}`),
		"a hotel's page": says(200, "text/html", "<html>pay here</html>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.knows("good", kubeProxy("1"))
			d.allow(mayWatch, true)
			r := reviewer(t, d.options(""))
			u, err := r.Who(t.Context(), "good")
			if err != nil {
				t.Fatal(err)
			}
			is(t, "right", may(t, r, u, watchServices), "yes")
			d.have(fault)
			d.later(3 * time.Minute) // longer than a yes is believed
			for range 2 {            // the second time without a question
				is(t, "good", who(t, r, "good"), u.Name)
				is(t, "right", may(t, r, u, watchServices), "yes")
				is(t, "a stranger", who(t, r, "stranger"), "unknown")
				is(t, "another deed", may(t, r, u, access.Deed{Verb: "list", Version: "v1", Resource: "services"}), "unknown")
			}
			if s := r.Stats(); s.Graced != 4 || s.Signed != 0 {
				t.Errorf("%+v", s)
			}
			d.later(24 * time.Hour)
			is(t, "after the grace", who(t, r, "good"), "unknown")
			is(t, "right after the grace", may(t, r, u, watchServices), "unknown")
			d.have(nil)
			is(t, "back", who(t, r, "good"), u.Name)
			is(t, "a stranger, back", who(t, r, "stranger"), "nobody")
		})
	}
}

// TestNoGrace: with a grace of nothing nobody is let in by an old answer.
func TestNoGrace(t *testing.T) {
	d := newDesk(t)
	d.knows("good", kubeProxy("1"))
	o := d.options(stateFile(t))
	o.Grace = 0
	d.life(t, o, func(r *access.Reviewer) {
		is(t, "good", who(t, r, "good"), kubeProxy("").Username)
		d.have(hangUp)
		is(t, "good, still fresh", who(t, r, "good"), kubeProxy("").Username)
		d.later(3 * time.Minute)
		is(t, "good, away", who(t, r, "good"), "unknown")
	})
	is(t, "good, away, another process", who(t, reviewer(t, o), "good"), "unknown")
}

// TestNobodyWaits: an API server that takes its time costs whoever has an
// answer of before a second, and the next ones nothing; who gives up does not
// end the question of others.
func TestNobodyWaits(t *testing.T) {
	d := newDesk(t)
	d.knows("good", kubeProxy("1"))
	r := reviewer(t, d.options(""))
	is(t, "good", who(t, r, "good"), kubeProxy("").Username)
	release := make(chan struct{})
	d.have(func(_ http.ResponseWriter, _ *http.Request) { <-release; panic(http.ErrAbortHandler) })
	d.later(3 * time.Minute)
	began := time.Now()
	is(t, "good, slow", who(t, r, "good"), kubeProxy("").Username)
	if took := time.Since(began); took < time.Second || took > 8*time.Second {
		t.Errorf("the first waits %s", took)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Who(ctx, "stranger"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who gives up: %v", err)
	}
	d.count(tokenReviews)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() { is(t, "a stranger that waits", who(t, r, "stranger"), "unknown") })
	}
	time.Sleep(100 * time.Millisecond)
	close(release)
	all.Wait()
	if n := d.count(tokenReviews); n > 1 {
		t.Errorf("twenty at one time ask %d times", n)
	}
	d.count(tokenReviews)
	began = time.Now()
	is(t, "good, just found away", who(t, r, "good"), kubeProxy("").Username)
	if n := d.count(tokenReviews); n != 0 || time.Since(began) > time.Second {
		t.Errorf("asked %d times, waits %s", n, time.Since(began))
	}
}

// TestFlood: bad tokens drive out bad ones, not who is known.
func TestFlood(t *testing.T) {
	d := newDesk(t)
	d.knows("good", kubeProxy("1"))
	o := d.options("")
	o.Config.QPS = -1 // the product's own limit is not what is tried here
	r := reviewer(t, o)
	is(t, "good", who(t, r, "good"), kubeProxy("").Username)
	d.later(time.Second) // it is the oldest
	access.Fill(r, 10_000)
	d.have(hangUp)
	d.later(time.Hour)
	is(t, "good after a flood", who(t, r, "good"), kubeProxy("").Username)
	if n := access.Size(r); n > 4096 {
		t.Errorf("%d are remembered", n)
	}
	is(t, "a bad one of the flood's end", who(t, r, fmt.Sprint("bad-", 9_999)), "nobody")
}
