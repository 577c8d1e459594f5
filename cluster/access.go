// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	authnv1 "k8s.io/api/authentication/v1"
	authzv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/rest"
)

const (
	// allowedFor is how long a yes is believed: as long a token or a right that
	// was taken away still works. deniedFor is short, because whoever was just
	// given the right tries again.
	allowedFor = 30 * time.Second
	deniedFor  = 5 * time.Second
	// tokenMost is the longest token that is asked about: real ones have 2 kB.
	tokenMost = 16 << 10
)

// Why a caller of an entry is refused.
var (
	ErrUnauthenticated = errors.New("the token is nobody's")
	ErrForbidden       = errors.New("not allowed")
)

// User is who a token belongs to.
type User struct {
	Name   string              `json:"name"`
	UID    string              `json:"uid,omitempty"`
	Groups []string            `json:"groups,omitempty"`
	Extra  map[string][]string `json:"extra,omitempty"`
}

// access asks the API server who somebody is and what he may do, and remembers
// the answers for a short while. While the API server is away it lets nobody
// in that it does not remember.
type access struct {
	reviews, rights direct
	users           *memory[*User] // nil: the token is nobody's
	refusals        *memory[string]
}

func newAccess(cfg *rest.Config, now func() time.Time) (*access, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.Burst = 50, 100 // what a flood of bad tokens may cost the API server
	reviews, err1 := newDirect(cfg, reviewKind)
	rights, err2 := newDirect(cfg, accessKind)
	return &access{reviews, rights, newMemory[*User](now), newMemory[string](now)}, errors.Join(err1, err2)
}

// Authenticate asks the API server whose token it is; ErrUnauthenticated if it
// is nobody's.
func (a *access) Authenticate(ctx context.Context, token string) (User, error) {
	if token == "" || len(token) > tokenMost {
		return User{}, ErrUnauthenticated
	}
	sum := sha256.Sum256([]byte(token)) // what is remembered must not be a credential
	user, err := a.users.get(ctx, string(sum[:]), func(ctx context.Context) (*User, time.Duration, error) {
		return a.review(ctx, token)
	})
	if err != nil {
		return User{}, fmt.Errorf("review token: %w", err)
	}
	if user == nil {
		return User{}, ErrUnauthenticated
	}
	return *user, nil
}

// review returns nil for a token that is nobody's.
func (a *access) review(ctx context.Context, token string) (*User, time.Duration, error) {
	r := &authnv1.TokenReview{Spec: authnv1.TokenReviewSpec{Token: token}}
	if err := a.reviews.create(ctx, r); err != nil {
		return nil, 0, err
	}
	if !r.Status.Authenticated || r.Status.User.Username == "" {
		return nil, deniedFor, nil
	}
	u := &User{Name: r.Status.User.Username, UID: r.Status.User.UID, Groups: r.Status.User.Groups}
	for name, values := range r.Status.User.Extra {
		if u.Extra == nil {
			u.Extra = map[string][]string{}
		}
		u.Extra[name] = values
	}
	return u, allowedFor, nil
}

// Authorize asks whether the user may do verb ("get", "create") on a
// subresource ("proxy", "metrics", "stats", "log", "") of a node; ErrForbidden
// if not.
func (a *access) Authorize(ctx context.Context, u User, verb, node, subresource string) error {
	key, err := json.Marshal([]any{u, verb, node, subresource}) // maps come out sorted
	if err != nil {
		return fmt.Errorf("encode user: %w", err)
	}
	refusal, err := a.refusals.get(ctx, string(key), func(ctx context.Context) (string, time.Duration, error) {
		return a.ask(ctx, u, &authzv1.ResourceAttributes{
			Verb: verb, Version: "v1", Resource: "nodes", Name: node, Subresource: subresource,
		})
	})
	if err != nil {
		return fmt.Errorf("review access: %w", err)
	}
	if refusal != "" {
		return fmt.Errorf("%w: %s", ErrForbidden, refusal)
	}
	return nil
}

// ask returns why the user may not; "" if he may.
func (a *access) ask(ctx context.Context, u User, to *authzv1.ResourceAttributes) (string, time.Duration, error) {
	r := &authzv1.SubjectAccessReview{Spec: authzv1.SubjectAccessReviewSpec{
		User: u.Name, UID: u.UID, Groups: u.Groups, Extra: map[string]authzv1.ExtraValue{}, ResourceAttributes: to,
	}}
	for name, values := range u.Extra {
		r.Spec.Extra[name] = values
	}
	if err := a.rights.create(ctx, r); err != nil {
		return "", 0, err
	}
	if r.Status.Allowed {
		return "", allowedFor, nil
	}
	return fmt.Sprintf("%s may not %s %s/%s of %s", u.Name, to.Verb, to.Resource, to.Subresource, to.Name), deniedFor, nil
}
