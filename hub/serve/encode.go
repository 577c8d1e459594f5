// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/magpie-edge/magpie/hub"
)

// The encoders write objects as they are: whoever calls them has set the kind,
// in a copy, because encoders that set it do so in the object. Lists are
// encoded one item at a time.
var (
	plainJSON  = json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{StreamingCollectionsEncoding: true})
	prettyJSON = json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Pretty: true})
	yaml       = json.NewSerializerWithOptions(json.DefaultMetaFactory, nil, nil, json.SerializerOptions{Yaml: true})
	proto      = protobuf.NewSerializerWithOptions(nil, nil, protobuf.SerializerOptions{StreamingCollectionsEncoding: true})
)

// encoded returns the form with its encoder.
func (f form) encoded(pretty bool) form {
	switch {
	case f.media == runtime.ContentTypeProtobuf:
		f.encoder = proto
	case f.media == runtime.ContentTypeYAML:
		f.encoder = yaml
	case pretty:
		f.encoder = prettyJSON
	default:
		f.encoder = plainJSON
	}
	return f
}

// contentType is the header of an answer that is a watch or is none.
func (f form) contentType(verb string) string {
	if verb == verbWatch && f.media != runtime.ContentTypeJSON {
		return f.media + ";stream=watch"
	}
	return f.media
}

// answerList returns these items as an answer in this form.
func (k served) answerList(items []hub.Item, m metav1.ListMeta, f form, now time.Time) runtime.Object {
	switch f.as {
	case asTable:
		return k.table(items, m, f, now)
	case asPartialList:
		l := &metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{Kind: string(asPartialList), APIVersion: metav1.SchemeGroupVersion.String()},
			ListMeta: m, Items: make([]metav1.PartialObjectMetadata, len(items)),
		}
		for i, item := range items {
			l.Items[i] = *partial(item.Object)
		}
		return l
	default:
		return k.list(items, m)
	}
}

// answer returns one object as an answer in this form.
func (k served) answer(o hub.Object, version string, f form, now time.Time) runtime.Object {
	o = k.dress(o, version)
	switch f.as {
	case asTable:
		return k.table([]hub.Item{{Object: o}}, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, f, now)
	case asPartial:
		return partial(o)
	default:
		return o
	}
}

// frame is one event of a watch, ready to be sent. An error is an encoder's,
// which can not be the caller's fault.
func (f form) frame(t hub.EventType, o runtime.Object) ([]byte, error) {
	var text bytes.Buffer
	if f.media == runtime.ContentTypeProtobuf {
		if err := f.encoder.Encode(o, &text); err != nil {
			return nil, fmt.Errorf("encode event: %w", err)
		}
		e := metav1.WatchEvent{Type: string(t), Object: runtime.RawExtension{Raw: text.Bytes()}}
		out := make([]byte, 4+e.Size())
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := e.MarshalTo(out[4:]); err != nil {
			return nil, fmt.Errorf("encode event: %w", err)
		}
		return out, nil
	}
	text.WriteString(`{"type":"` + string(t) + `","object":`)
	if err := f.encoder.Encode(o, &text); err != nil {
		return nil, fmt.Errorf("encode event: %w", err)
	}
	return append(bytes.TrimRight(text.Bytes(), "\n"), "}\n"...), nil
}

// bookmark is an object that says up to which version a watch has told all.
func (k served) bookmark(version uint64, initial bool) hub.Object {
	o := k.blank()
	o.SetResourceVersion(strconv.FormatUint(version, 10))
	if initial {
		o.SetAnnotations(map[string]string{metav1.InitialEventsAnnotationKey: "true"})
	}
	return o
}
