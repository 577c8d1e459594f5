// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/hub"
)

const (
	// pagesMost lists are remembered for callers that read them in pages, each
	// for pagesFor: about as long as an API server does.
	pagesMost = 8
	pagesFor  = 5 * time.Minute
	// inconsistent stands in a token for "from where I was, of what is now".
	inconsistent = -1
	tokenVersion = "meta.k8s.io/v1"
)

// token says where a list goes on. It is in the form that API servers use, but
// nobody but us reads ours.
type token struct {
	Form    string `json:"v"`
	Version int64  `json:"rv"`
	// After is the namespace and the name of the last object that was sent.
	After string `json:"start"`
}

func (t token) encode() string {
	t.Form = tokenVersion
	text, err := json.Marshal(t)
	if err != nil {
		panic(err) // two strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

var errToken = errors.New("continue key is not valid")

func decodeToken(s string) (token, error) {
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return token{}, fmt.Errorf("%w: %w", errToken, err)
	}
	var t token
	if err := json.Unmarshal(text, &t); err != nil {
		return token{}, fmt.Errorf("%w: %w", errToken, err)
	}
	switch {
	case t.Form != tokenVersion:
		return token{}, fmt.Errorf("%w: server does not recognize this encoded version %v", errToken, t.Form)
	case t.Version < inconsistent || t.Version == 0:
		return token{}, fmt.Errorf("%w: incorrect encoded start resourceVersion (version %s)", errToken, tokenVersion)
	case strings.Count(t.After, "/") != 1:
		return token{}, fmt.Errorf("%w: incorrect encoded start key (version %s)", errToken, tokenVersion)
	}
	return t, nil
}

// keyOf is where an object stands in a list.
func keyOf(o hub.Object) string { return o.GetNamespace() + "/" + o.GetName() }

// after returns the items that stand behind the key. Names and namespaces hold
// no slash, but what sorts before it, so the parts are compared.
func after(items []hub.Item, key string) []hub.Item {
	namespace, name, _ := strings.Cut(key, "/")
	for i, item := range items {
		ns := item.Object.GetNamespace()
		if ns > namespace || ns == namespace && item.Object.GetName() > name {
			return items[i:]
		}
	}
	return nil
}

// pages remembers lists that somebody reads in pages. What a list holds is
// shared with the Store until it changes there, so that costs little.
type pages struct {
	mu    sync.Mutex
	lists []page // the oldest first
}

type page struct {
	kind    hub.Kind
	version uint64
	items   []hub.Item
	until   time.Time
}

// keep remembers a list that find does not.
func (p *pages) keep(kind hub.Kind, version uint64, items []hub.Item, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(now)
	if len(p.lists) == pagesMost {
		p.lists = slices.Delete(p.lists, 0, 1)
	}
	p.lists = append(p.lists, page{kind, version, items, now.Add(pagesFor)})
}

// find returns a list that is remembered, and remembers it for longer.
func (p *pages) find(kind hub.Kind, version uint64, now time.Time) ([]hub.Item, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop(now)
	for i := range p.lists {
		if l := &p.lists[i]; l.kind == kind && l.version == version {
			l.until = now.Add(pagesFor)
			return l.items, true
		}
	}
	return nil, false
}

// drop forgets what is over.
func (p *pages) drop(now time.Time) {
	p.lists = slices.DeleteFunc(p.lists, func(l page) bool { return !now.Before(l.until) })
}
