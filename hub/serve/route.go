// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	internalscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/magpie-edge/magpie/hub/access"
)

// The verbs that the hub answers.
const (
	verbGet   = "get"
	verbList  = "list"
	verbWatch = "watch"
)

// question is a request that the hub answers itself.
type question struct {
	served
	verb      string
	namespace string // "" for all, and for what is in none
	name      string // of one object; for list and watch from the field selector, ""
	query     url.Values
	// options of list and watch, and what is wrong with them.
	options internalversion.ListOptions
	err     error
	// fromPath means that the verb stood in the path, as long ago.
	fromPath bool
}

// route reads what a request asks; ours is false if that is not for the hub to
// answer. An error is one that an API server would give, too.
func route(r *http.Request, node string) (q question, ours bool, err error) {
	if r.Method != http.MethodGet {
		return question{}, false, nil
	}
	plain := path.Clean("/" + r.URL.Path)
	q, ours = parsePath(plain)
	if !ours {
		// A namespace without a name is one more way to say all of them.
		if _, ours = parsePath("/" + strings.Trim(r.URL.Path, "/")); ours {
			return question{}, true, errPath
		}
		return question{}, false, nil
	}
	q.query = r.URL.Query()
	if q.verb != verbGet {
		q.readOptions()
	}
	if q.Kind.Name == "Node" && (node == "" || q.name != node) {
		return question{}, false, nil
	}
	if plain != r.URL.Path {
		return question{}, true, errPath
	}
	return q, true, nil
}

// errPath refuses a path that is not in its shortest form and in some reading
// means a kind of the hub: the API server could read it in another way. No
// client writes one.
var errPath = apierrors.NewGenericServerResponse(http.StatusNotFound, "", schema.GroupResource{}, "", "", 0, false)

// parsePath finds the kind and what of it is meant.
//
//	/api/v1/services                          /api/v1/watch/services
//	/api/v1/namespaces/NS/services            /api/v1/watch/namespaces/NS/services
//	/api/v1/namespaces/NS/services/NAME       /api/v1/watch/namespaces/NS/services/NAME
func parsePath(p string) (question, bool) {
	parts := strings.Split(p[1:], "/")
	var version schema.GroupVersion
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		version.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		version.Group, version.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return question{}, false
	}
	q := question{verb: verbList}
	if parts[0] == "watch" && len(parts) > 1 {
		q.verb, q.fromPath, parts = verbWatch, true, parts[1:]
	}
	inNamespace := parts[0] == "namespaces" && len(parts) > 2
	if inNamespace {
		q.namespace, parts = parts[1], parts[2:]
	}
	at := slices.IndexFunc(kinds, func(k served) bool {
		return k.Kind.GroupVersion == version && k.Kind.Resource == parts[0]
	})
	if at < 0 || len(parts) > 2 || inNamespace && !kinds[at].Kind.Namespaced {
		return question{}, false
	}
	q.served = kinds[at]
	if len(parts) == 2 {
		if q.Kind.Namespaced && !inNamespace {
			return question{}, false
		}
		q.name = parts[1]
		if !q.fromPath {
			q.verb = verbGet
		}
	}
	return q, true
}

// readOptions reads the parameters of list and watch, as an API server does.
// Source: k8s.io/apiserver pkg/endpoints/handlers/get.go, listOpts, and
// pkg/endpoints/request/requestinfo.go.
func (q *question) readOptions() {
	err := internalscheme.ParameterCodec.DecodeParameters(q.query, metav1.SchemeGroupVersion, &q.options)
	if err != nil {
		q.err = apierrors.NewBadRequest(err.Error())
		q.options = internalversion.ListOptions{}
		if v := q.query["watch"]; len(v) > 0 && !slices.Contains([]string{"false", "0"}, strings.ToLower(v[0])) {
			q.options.Watch = true
		}
	}
	if q.fromPath {
		q.options.Watch = true
	}
	if q.options.Watch {
		q.verb = verbWatch
	}
	byPath := q.name
	if q.options.FieldSelector != nil && byPath == "" {
		name, ok := q.options.FieldSelector.RequiresExactMatch("metadata.name")
		if ok && len(content.IsPathSegmentName(name)) == 0 {
			q.name = name
		}
	}
	if q.err != nil {
		return
	}
	internalversion.SetListOptionsDefaults(&q.options, true)
	if errs := validation.ValidateListOptions(&q.options, true); len(errs) > 0 {
		q.err = apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", errs)
		return
	}
	q.err = q.readSelector(byPath)
}

// readSelector checks the field selector and joins it with a name from the path.
func (q *question) readSelector(byPath string) error {
	sel := q.options.FieldSelector
	if sel != nil {
		var err error
		sel, err = sel.Transform(func(label, value string) (string, string, error) {
			return label, value, q.selectableField(label)
		})
		if err != nil {
			return apierrors.NewBadRequest(err.Error())
		}
	}
	if byPath != "" {
		if sel != nil && !sel.Empty() {
			if name, ok := sel.RequiresExactMatch("metadata.name"); !ok || name != byPath {
				return apierrors.NewBadRequest("fieldSelector metadata.name doesn't match requested name")
			}
		} else {
			sel = fields.OneTermEqualSelector("metadata.name", byPath)
		}
	}
	q.options.FieldSelector = sel
	return nil
}

// deed is what the caller must have the right to.
func (q *question) deed() access.Deed {
	d := access.Deed{
		Verb: q.verb, Group: q.Kind.GroupVersion.Group, Version: q.Kind.GroupVersion.Version,
		Resource: q.Kind.Resource, Namespace: q.namespace, Name: q.name,
	}
	if q.Kind.Name == "Namespace" {
		d.Namespace = q.name // a Role in a namespace may allow to read it
	}
	if q.verb != verbGet && !q.fromPath {
		d.FieldSelector, d.LabelSelector = q.query.Get("fieldSelector"), q.query.Get("labelSelector")
	}
	return d
}

// filter is which objects of the kind are meant.
func (q *question) filter() filter {
	f := filter{served: q.served, namespace: q.namespace, labels: labels.Everything(), fields: fields.Everything()}
	if q.options.LabelSelector != nil {
		f.labels = q.options.LabelSelector
	}
	if q.options.FieldSelector != nil {
		f.fields = q.options.FieldSelector
	}
	return f
}
