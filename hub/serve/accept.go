// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/munnerz/goautoneg"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	internalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1beta1/validation"
	"k8s.io/apimachinery/pkg/runtime"
)

// transform is what becomes of objects before they are encoded.
type transform string

// The transforms that API servers know for every kind.
const (
	asIs          transform = ""
	asTable       transform = "Table"
	asPartial     transform = "PartialObjectMetadata"
	asPartialList transform = "PartialObjectMetadataList"
)

// form is how an answer is written.
type form struct {
	media string
	as    transform
	// include and noHeaders are for tables.
	include   metav1.IncludeObjectPolicy
	noHeaders bool
	encoder   runtime.Encoder
}

// negotiate chooses a form, by the rules of an API server: the first clause of
// Accept, the best first, that names something it can write. So that a caller
// which wants a table where there is none gets the object.
// Source: k8s.io/apiserver pkg/endpoints/handlers/negotiation.
func negotiate(r *http.Request, mayTransform bool) (form, bool) {
	header := r.Header.Get("Accept")
	if header == "" {
		return form{media: runtime.ContentTypeJSON}.encoded(pretty(r)), true
	}
	for _, clause := range goautoneg.ParseAccept(header) {
		for _, media := range []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf} {
			major, minor, _ := strings.Cut(media, "/")
			if clause.Type != "*" && (clause.Type != major || clause.SubType != "*" && clause.SubType != minor) ||
				clause.Type == "*" && clause.SubType != "*" {
				continue
			}
			as, ok := transformOf(clause.Params, media)
			if ok && (as == asIs || mayTransform) {
				return form{media: media, as: as}.encoded(clause.Params["pretty"] == "1" || pretty(r)), true
			}
		}
	}
	return form{}, false
}

// transformOf reads the parameters of a clause; false: it can not be met.
func transformOf(params map[string]string, media string) (transform, bool) {
	if s := params["stream"]; s != "" && (s != "watch" || media == runtime.ContentTypeYAML) {
		return asIs, false
	}
	if sv := params["sv"]; sv != "" && sv != metav1.SchemeGroupVersion.Version {
		return asIs, false
	}
	_, as := params["as"]
	_, g := params["g"]
	_, v := params["v"]
	if !as && !g && !v {
		return asIs, true
	}
	if params["g"] != metav1.GroupName || params["v"] != metav1.SchemeGroupVersion.Version {
		return asIs, false // v1beta1 is offered by clients beside v1 only
	}
	switch t := transform(params["as"]); t {
	case asTable:
		return t, media != runtime.ContentTypeProtobuf
	case asPartial, asPartialList:
		return t, true
	default:
		return asIs, false
	}
}

// includeOf reads from the query what of an object goes with a row of a table.
func includeOf(query url.Values) (metav1.IncludeObjectPolicy, error) {
	var o metav1.TableOptions
	if err := internalscheme.ParameterCodec.DecodeParameters(query, metav1.SchemeGroupVersion, &o); err != nil {
		return "", apierrors.NewBadRequest(err.Error())
	}
	if errs := validation.ValidateTableOptions(&o); len(errs) > 0 {
		return "", apierrors.NewBadRequest("Unable to convert to Table as requested: " + errs[0].Error())
	}
	return o.IncludeObject, nil
}

// suits returns why the answer to a question can not have that form.
func (f form) suits(q question) error {
	group, _, _ := strings.Cut(q.Kind.GroupVersion.Group, ".")
	if group == "" {
		group = "core"
	}
	switch {
	case q.verb == verbWatch && (f.media == runtime.ContentTypeYAML || f.as == asPartialList):
		return errNotAcceptable(verbWatch)
	case q.verb == verbList && f.as == asPartial:
		return notAcceptable(fmt.Sprintf("you requested %s, but the requested object is a list (*%s.%sList)", asPartial, group, q.Kind.Name))
	case q.verb == verbGet && f.as == asPartialList:
		return notAcceptable(fmt.Sprintf("you requested %s, but the requested object is not a list (*%s.%s)", asPartialList, group, q.Kind.Name))
	default:
		return nil
	}
}

// errNotAcceptable is what a caller is told who accepts nothing that there is.
func errNotAcceptable(verb string) error {
	names := []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf}
	if verb == verbWatch {
		names = []string{runtime.ContentTypeJSON + ";stream=watch", runtime.ContentTypeProtobuf + ";stream=watch"}
	}
	return notAcceptable("only the following media types are accepted: " + strings.Join(names, ", "))
}

func notAcceptable(why string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: why,
	}}
}

// pretty reports whether a person reads the answer.
func pretty(r *http.Request) bool {
	if p := r.URL.Query().Get("pretty"); p != "" {
		yes, err := strconv.ParseBool(p)
		return err == nil && yes
	}
	agent := r.UserAgent()
	return strings.HasPrefix(agent, "curl") || strings.HasPrefix(agent, "Wget") || strings.HasPrefix(agent, "Mozilla/5.0")
}
