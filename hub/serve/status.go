// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/magpie-edge/magpie/hub"
	"github.com/magpie-edge/magpie/hub/access"
)

// retryAfter is when a caller should ask again that could not be answered now,
// in seconds.
const retryAfter = 1

// fault returns what a caller is told about an error, as an API server would.
func fault(err error) *metav1.Status {
	var api apierrors.APIStatus
	var s metav1.Status
	switch {
	case errors.As(err, &api):
		s = api.Status()
	case errors.Is(err, access.ErrUnauthenticated):
		s = apierrors.NewUnauthorized("Unauthorized").Status()
	case errors.Is(err, hub.ErrNotReady):
		s = unavailable("the hub has not heard of this kind yet")
	case errors.Is(err, access.ErrUnknown):
		s = unavailable("the API server does not answer, and has not said before whether this caller may")
	case errors.Is(err, hub.ErrGone):
		s = apierrors.NewResourceExpired("too old resource version").Status()
	default:
		s = apierrors.NewInternalError(err).Status()
	}
	s.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	if s.Status == "" {
		s.Status = metav1.StatusFailure
	}
	return &s
}

func unavailable(why string) metav1.Status {
	s := apierrors.NewServiceUnavailable(why).Status()
	s.Details = &metav1.StatusDetails{RetryAfterSeconds: retryAfter}
	return s
}

// errTooNew is what an API server says to a version that does not exist yet.
// Source: k8s.io/apiserver pkg/storage/errors.go.
func errTooNew(asked, newest uint64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, newest), retryAfter)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}

// errForbidden says it in the words of an API server.
// Source: k8s.io/apiserver pkg/endpoints/handlers/responsewriters/errors.go.
func errForbidden(u access.User, d access.Deed, reason string) error {
	where := "at the cluster scope"
	if d.Namespace != "" {
		where = fmt.Sprintf("in the namespace %q", d.Namespace)
	}
	text := fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", u.Name, d.Verb, d.Resource, d.Group, where)
	text = strings.NewReplacer(`&`, "&amp;", `<`, "&lt;", `>`, "&gt;").Replace(text)
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: d.Group, Resource: d.Resource}, d.Name, errors.New(text))
}

// refuse writes an error in the best plain form that the caller accepts, JSON
// if there is none.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := fault(err)
	if status.Code >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.o.Log.Debug("request is not answered", "path", r.URL.Path, "code", status.Code, "err", err)
	}
	f, ok := negotiate(r, false)
	if !ok {
		f = form{media: runtime.ContentTypeJSON}.encoded(false)
	}
	if status.Details != nil && status.Details.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(status.Details.RetryAfterSeconds)))
	}
	if status.Code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	s.write(w, r, answer{f, int(status.Code), status})
}
