// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/magpie-edge/magpie/hub"
)

// readyWait is how long a caller waits for a kind that is not known yet: the
// Store begins to read some kinds when they are first asked for.
const readyWait = 3 * time.Second

// known calls f, and again when the Store knows the kind, if it does soon.
func (s *Server) known(ctx context.Context, kind hub.Kind, f func() error) error {
	err := f()
	if !errors.Is(err, hub.ErrNotReady) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if s.o.Store.Wait(ctx, kind) != nil {
		return err
	}
	return f()
}

// get answers for one object.
func (s *Server) get(w http.ResponseWriter, r *http.Request, q question, f form) error {
	var o hub.Object
	err := s.known(r.Context(), q.Kind, func() (err error) {
		o, err = s.o.Store.Get(q.Kind, q.namespace, q.name)
		return err
	})
	if err != nil {
		return err
	}
	if o == nil {
		return apierrors.NewNotFound(schema.GroupResource{Group: q.Kind.GroupVersion.Group, Resource: q.Kind.Resource}, q.name)
	}
	s.write(w, r, answer{f, http.StatusOK, q.answer(o, "", f, s.o.Now())})
	return nil
}

// list answers with all that are wanted.
func (s *Server) list(w http.ResponseWriter, r *http.Request, q question, f form) error {
	var items []hub.Item
	var version uint64
	err := s.known(r.Context(), q.Kind, func() (err error) {
		items, version, err = s.o.Store.List(q.Kind)
		return err
	})
	if err != nil {
		return err
	}
	all := items
	if items, version, err = s.at(q, all, version); err != nil {
		return err
	}
	m := metav1.ListMeta{ResourceVersion: strconv.FormatUint(version, 10)}
	limit := int(q.options.Limit)
	if q.options.ResourceVersion == "0" && q.options.ResourceVersionMatch == "" {
		limit = 0 // API servers do not page what they have in memory
	}
	want := q.filter()
	picked, more := want.pick(items, limit)
	if more {
		now := s.o.Now()
		if _, is := s.pages.find(q.Kind, version, now); !is {
			s.pages.keep(q.Kind, version, all, now)
		}
		m.Continue = token{Version: int64(version), After: keyOf(picked[limit-1].Object)}.encode()
		if want.all() {
			rest, _ := want.pick(items, 0)
			left := int64(len(rest) - limit)
			m.RemainingItemCount = &left
		}
	}
	s.write(w, r, answer{f, http.StatusOK, q.answerList(picked, m, f, s.o.Now())})
	return nil
}

// at returns the items from which to pick, and their version, by the rules for
// resourceVersion, resourceVersionMatch and continue.
// Source: kubernetes.io/docs/reference/using-api/api-concepts, Resource versions.
func (s *Server) at(q question, items []hub.Item, newest uint64) ([]hub.Item, uint64, error) {
	o := q.options
	if o.Continue != "" {
		return s.goOn(q, items, newest)
	}
	asked, err := readVersion(o.ResourceVersion)
	if err != nil {
		return nil, 0, err
	}
	legacy := o.ResourceVersionMatch == "" && o.Limit > 0 && asked > 0
	switch {
	case asked > newest:
		return nil, 0, errTooNew(asked, newest)
	case o.ResourceVersionMatch != metav1.ResourceVersionMatchExact && !legacy, asked == newest:
		return items, newest, nil
	}
	old, ok := s.pages.find(q.Kind, asked, s.o.Now())
	if !ok {
		return nil, 0, apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	return old, asked, nil
}

// goOn is at for a list that has begun before.
func (s *Server) goOn(q question, items []hub.Item, newest uint64) ([]hub.Item, uint64, error) {
	if v := q.options.ResourceVersion; v != "" && v != "0" {
		return nil, 0, apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	t, err := decodeToken(q.options.Continue)
	if err != nil {
		return nil, 0, apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	version := uint64(t.Version)
	if t.Version == inconsistent || version == newest {
		return after(items, t.After), newest, nil
	}
	old, ok := s.pages.find(q.Kind, version, s.o.Now())
	if !ok {
		return nil, 0, errExpiredToken(t)
	}
	return after(old, t.After), version, nil
}

// errExpiredToken carries a token to go on with what is now.
// Source: k8s.io/apiserver pkg/storage/etcd3/errors.go.
func errExpiredToken(t token) error {
	t.Version = inconsistent
	err := apierrors.NewResourceExpired("The provided continue parameter is too old " +
		"to display a consistent list result. You can start a new list without " +
		"the continue parameter, or use the continue token in this response to " +
		"retrieve the remainder of the results. Continuing with the provided " +
		"token results in an inconsistent list - objects that were created, " +
		"modified, or deleted between the time the first chunk was returned " +
		"and now may show up in the list.")
	err.ErrStatus.Continue = t.encode()
	return err
}

// readVersion reads a resourceVersion; "" is 0.
func readVersion(s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest("invalid resource version: " + field.Invalid(field.NewPath("resourceVersion"), s, err.Error()).Error())
	}
	return v, nil
}
