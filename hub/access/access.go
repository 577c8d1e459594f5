// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync/atomic"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// allowedFor is how long a yes is believed while the API server answers, and
	// so how long a token or a right that was taken away still works.
	allowedFor = 2 * time.Minute
	// deniedFor is short, because whoever was just given the right tries again.
	deniedFor = 10 * time.Second
	// DefaultGrace is how long the last yes holds while the API server is away.
	DefaultGrace = 24 * time.Hour
	// tokenMost is the longest token that is asked about: real ones have 2 kB.
	tokenMost = 16 << 10
	// credentialID differs for every token of one account. Rights do not depend
	// on it, and a new token of a known account must find them when offline.
	credentialID = "authentication.kubernetes.io/credential-id"
)

// ErrUnauthenticated says that the token is nobody's.
var ErrUnauthenticated = errors.New("the token is nobody's")

// ErrUnknown says that the API server does not answer and has never said it
// before, or too long ago.
var ErrUnknown = errors.New("the API server does not answer and nothing is remembered")

// ForbiddenError says that the user may not do it.
type ForbiddenError struct {
	// Reason is what the API server gave, often nothing.
	Reason string
}

func (e *ForbiddenError) Error() string { return "not allowed: " + e.Reason }

// User is who a token belongs to.
type User struct {
	Name   string              `json:"name"`
	UID    string              `json:"uid,omitempty"`
	Groups []string            `json:"groups,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
}

// Deed is what somebody wants to do.
type Deed struct {
	Verb                     string // get, list, watch
	Group, Version, Resource string
	// Namespace is "" for all of them.
	Namespace string
	Name      string
	// Selectors as they stood in the query; authorizers may look at them.
	FieldSelector, LabelSelector string
}

// Options of a Reviewer.
type Options struct {
	// Config is the agent's own: its account may create TokenReviews and
	// SubjectAccessReviews.
	Config *rest.Config
	// Path of the file that carries the answers over a restart; "" for none.
	Path string
	// Grace is how long the last yes holds while the API server does not answer.
	// Zero is none; DefaultGrace is what the product uses.
	Grace time.Duration
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

// Reviewer asks the API server and remembers. Its methods may be called from
// any goroutine.
type Reviewer struct {
	o       Options
	tokens  poster
	rights  poster
	line    *line
	keys    *keyring
	users   *book[*User] // by token; nil: the token is nobody's
	bearers *book[*User] // by bearer, as keyring.bearer names them; nil: the last token was refused
	answers *book[answer]

	asked, signed atomic.Uint64
}

// answer is what a SubjectAccessReview said.
type answer struct {
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason,omitempty"`
}

// New makes a Reviewer and reads what an earlier one has left at Path. It does
// not connect.
func New(o Options) (*Reviewer, error) {
	cfg := rest.CopyConfig(o.Config)
	cfg.QPS, cfg.Burst = 20, 50 // what a flood of bad tokens may cost the API server
	tokens, err1 := newPoster(cfg, authnv1.SchemeGroupVersion, "tokenreviews")
	rights, err2 := newPoster(cfg, authzv1.SchemeGroupVersion, "subjectaccessreviews")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	far := &line{now: o.Now}
	isUser := func(u *User) bool { return u != nil }
	r := &Reviewer{o: o, tokens: tokens, rights: rights, line: far, keys: newKeyring(o, tokens.client)}
	r.users, r.bearers = newBook(o, far, isUser), newBook(o, far, isUser)
	r.answers = newBook(o, far, func(a answer) bool { return a.Allowed })
	r.load()
	return r, nil
}

// Who returns whose token it is; ErrUnauthenticated if it is nobody's,
// ErrUnknown if that can not be learnt now.
func (r *Reviewer) Who(ctx context.Context, token string) (User, error) {
	if token == "" || len(token) > tokenMost {
		return User{}, ErrUnauthenticated
	}
	key := hashOf([]byte(token))
	if r.line.away() && !r.users.has(key) { // it need not be found out again
		if u := r.bySignature(token); u != nil {
			return *u, nil
		}
	}
	user, err := r.users.get(ctx, key, func(ctx context.Context) (*User, error) { return r.review(ctx, token) })
	if errors.Is(err, ErrUnknown) && r.line.away() {
		if u := r.bySignature(token); u != nil {
			return *u, nil
		}
	}
	switch {
	case err != nil:
		return User{}, fmt.Errorf("review token: %w", err)
	case user == nil:
		return User{}, ErrUnauthenticated
	}
	return *user, nil
}

// bySignature returns whose a token must be that the API server has signed and
// was never asked about: the one whose last token, alike in all but its times,
// it has accepted within the grace. Nil if there is none.
func (r *Reviewer) bySignature(token string) *User {
	if !r.keys.current() {
		return nil
	}
	bearer, err := r.keys.bearer(token)
	if err != nil {
		r.o.Log.Debug("token is new and can not be checked without the API server", "err", err)
		return nil
	}
	u, _, graced := r.bearers.recall(bearer)
	if u == nil || !graced {
		return nil
	}
	r.signed.Add(1)
	return u
}

// learn remembers what the API server said last of any token of a bearer: a
// yes, so that his next token is known without it; a no, so that it is not.
func (r *Reviewer) learn(token string, u *User) {
	bearer, err := r.keys.bearer(token)
	switch {
	case err == nil:
		r.bearers.put(bearer, u)
	case u != nil && errors.Is(err, errNoKey): // the API server has a key that we have not
		r.keys.refresh()
	}
}

// review returns nil for a token that is nobody's.
func (r *Reviewer) review(ctx context.Context, token string) (*User, error) {
	u, err := r.reviewToken(ctx, token)
	if err == nil {
		r.learn(token, u)
	}
	return u, err
}

func (r *Reviewer) reviewToken(ctx context.Context, token string) (*User, error) {
	r.asked.Add(1)
	t := &authnv1.TokenReview{Spec: authnv1.TokenReviewSpec{Token: token}}
	if err := r.tokens.post(ctx, t); err != nil {
		return nil, err
	}
	if !t.Status.Authenticated || t.Status.User.Username == "" {
		if t.Status.Error != "" {
			r.o.Log.Debug("token is not accepted", "err", t.Status.Error)
		}
		return nil, nil //nolint:nilnil // an answer: it is nobody's
	}
	u := &User{Name: t.Status.User.Username, UID: t.Status.User.UID, Groups: t.Status.User.Groups}
	for name, values := range t.Status.User.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[name] = values
	}
	return u, nil
}

// May returns nil if the user may do it, a *ForbiddenError if not, ErrUnknown
// if that can not be learnt now.
func (r *Reviewer) May(ctx context.Context, u User, d Deed) error {
	key, err := keyOf(u, d)
	if err != nil {
		return err
	}
	a, err := r.answers.get(ctx, key, func(ctx context.Context) (answer, error) { return r.ask(ctx, u, d) })
	switch {
	case err != nil:
		return fmt.Errorf("review access: %w", err)
	case !a.Allowed:
		return &ForbiddenError{Reason: a.Reason}
	}
	return nil
}

func (r *Reviewer) ask(ctx context.Context, u User, d Deed) (answer, error) {
	r.asked.Add(1)
	to := &authzv1.ResourceAttributes{
		Verb: d.Verb, Group: d.Group, Version: d.Version, Resource: d.Resource, Namespace: d.Namespace, Name: d.Name,
	}
	if d.FieldSelector != "" {
		to.FieldSelector = &authzv1.FieldSelectorAttributes{RawSelector: d.FieldSelector}
	}
	if d.LabelSelector != "" {
		to.LabelSelector = &authzv1.LabelSelectorAttributes{RawSelector: d.LabelSelector}
	}
	s := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User: u.Name, UID: u.UID, Groups: u.Groups, Extra: map[string]authzv1.ExtraValue{}, ResourceAttributes: to,
	}}
	for name, values := range u.Extra {
		s.Spec.Extra[name] = values
	}
	if err := r.rights.post(ctx, s); err != nil {
		return answer{}, err
	}
	return answer{Allowed: s.Status.Allowed, Reason: s.Status.Reason}, nil
}

// Stats are counts since the start.
type Stats struct {
	Asked uint64 // questions put to the API server
	// Graced are answers given from before because it did not answer.
	Graced uint64
	// Signed are tokens accepted for their signature because it did not answer.
	Signed uint64
}

// Stats returns the counts.
func (r *Reviewer) Stats() Stats {
	return Stats{
		Asked: r.asked.Load(), Graced: r.users.graced.Load() + r.answers.graced.Load(), Signed: r.signed.Load(),
	}
}

func keyOf(u User, d Deed) (string, error) {
	u.Extra = maps.Clone(u.Extra)
	delete(u.Extra, credentialID)
	text, err := json.Marshal([]any{u, d}) // maps come out sorted
	if err != nil {
		return "", fmt.Errorf("encode user: %w", err)
	}
	return hashOf(text), nil
}

func hashOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
