// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/client-go/rest"
)

const (
	// keysPath is where an API server publishes the keys it signs ServiceAccount
	// tokens with, whatever address its discovery document names.
	// Source: k8s.io/kubernetes pkg/serviceaccount/openidmetadata.go.
	keysPath = "/openid/v1/jwks"
	keysType = "application/jwk-set+json"
	// keysEvery is how often they are read, keysAgain how soon at the earliest.
	keysEvery = 15 * time.Minute
	keysAgain = time.Minute
)

// errNoKey says that a token names a key that is not known.
var errNoKey = errors.New("it is signed with a key that is not known")

// keyring is the API server's public keys, as it published them last.
type keyring struct {
	o      Options
	client *rest.RESTClient
	wanted chan struct{}

	mu    sync.Mutex
	set   jose.JSONWebKeySet
	text  json.RawMessage // set, as published
	at    time.Time       // when they were read
	saved time.Time       // the at that is on disk
}

func newKeyring(o Options, client *rest.RESTClient) *keyring {
	return &keyring{o: o, client: client, wanted: make(chan struct{}, 1)}
}

// run reads the keys now and then until ctx ends. The keys there are stay when
// that does not succeed.
func (k *keyring) run(ctx context.Context) {
	told := false
	for ctx.Err() == nil {
		began, next := k.o.Now(), keysEvery
		err := k.fetch(ctx)
		if err != nil {
			next = keysAgain
			if !told && ctx.Err() == nil {
				k.o.Log.Info("keys of the api server are not read: tokens issued just before it is away will not be known", "err", err)
			}
		}
		told = err != nil
		k.pause(ctx, began, next)
	}
}

// pause ends after that time, or when somebody wants the keys and they were not
// read just now.
func (k *keyring) pause(ctx context.Context, began time.Time, length time.Duration) {
	timer := time.NewTimer(length)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-k.wanted:
			if k.o.Now().Sub(began) >= keysAgain {
				return
			}
		}
	}
}

// refresh asks run to read the keys soon.
func (k *keyring) refresh() {
	select {
	case k.wanted <- struct{}{}:
	default:
	}
}

func (k *keyring) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	text, err := k.client.Get().AbsPath(keysPath).SetHeader("Accept", keysType).MaxRetries(0).Do(ctx).Raw()
	if err == nil {
		err = k.take(savedEntry[json.RawMessage]{text, k.o.Now()})
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", keysPath, err)
	}
	return nil
}

// take makes a set of keys the current one; one that holds none is refused.
func (k *keyring) take(e savedEntry[json.RawMessage]) error {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(e.Value, &set); err != nil {
		return err
	}
	set.Keys = slices.DeleteFunc(set.Keys, func(key jose.JSONWebKey) bool {
		return !key.IsPublic() || key.KeyID == ""
	})
	if len(set.Keys) == 0 {
		return errors.New("there is no public key")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.set, k.text, k.at = set, e.Value, e.At
	return nil
}

// current reports whether there are keys and they were read within the grace.
func (k *keyring) current() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.set.Keys) > 0 && k.o.Now().Sub(k.at) < k.o.Grace
}

// bearer checks that the API server has signed the token and that it is valid
// now, and returns a name of what it says but for its own id and times: issuer,
// audiences, account, and the pod or other object that it is bound to. A pod's
// tokens differ in nothing else as the kubelet renews them.
func (k *keyring) bearer(token string) (string, error) {
	// What a token says of its algorithm is not believed: "none" and the
	// symmetric ones are not among these.
	// Source: k8s.io/kubernetes pkg/serviceaccount/jwt.go, signerFromRSAPrivateKey and others.
	t, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512})
	if err != nil {
		return "", err
	}
	k.mu.Lock()
	keys := k.set.Key(t.Headers[0].KeyID)
	k.mu.Unlock()
	if len(keys) == 0 {
		return "", errNoKey
	}
	var std jwt.Claims
	var own struct {
		Bound map[string]any `json:"kubernetes.io"`
	}
	if err = t.Claims(keys[0].Key, &std, &own); err != nil {
		return "", err
	}
	if err = std.Validate(jwt.Expected{Time: k.o.Now()}); err != nil {
		return "", err
	}
	if std.Expiry == nil || len(own.Bound) == 0 {
		return "", errors.New("it never ends, or is bound to no account")
	}
	delete(own.Bound, "warnafter")
	slices.Sort(std.Audience)
	text, err := json.Marshal([]any{std.Issuer, std.Subject, std.Audience, own.Bound})
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	return hashOf(text), nil
}

func (k *keyring) export() savedEntry[json.RawMessage] {
	k.mu.Lock()
	defer k.mu.Unlock()
	return savedEntry[json.RawMessage]{k.text, k.at}
}

// behind reports whether the file should be written for these keys.
func (k *keyring) behind(e savedEntry[json.RawMessage]) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !e.At.Equal(k.saved)
}

func (k *keyring) noteWritten(e savedEntry[json.RawMessage]) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.saved = e.At
}

func (k *keyring) load(e savedEntry[json.RawMessage]) {
	if e.At.IsZero() {
		return // a file of before there were any
	}
	if err := k.take(e); err != nil {
		k.o.Log.Warn("keys of the api server can not be read from disk", "path", k.o.Path, "err", err)
	}
	k.noteWritten(e)
}
