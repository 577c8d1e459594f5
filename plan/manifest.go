// SPDX-License-Identifier: Apache-2.0

package plan

// Manifest is one Kubernetes object, or the part of one that a loop owns. The
// cluster door writes it by server-side apply with the loop's field manager.
type Manifest struct {
	APIVersion  string // "net.magpie.dev/v1alpha1"
	Kind        string
	Namespace   string // "" for cluster-scoped kinds
	Name        string
	Subresource string // "" or "status"
	JSON        string // canonical: keys sorted, no white space; the whole applied object
}

// ManifestKey is the identity of a Manifest.
type ManifestKey struct{ APIVersion, Kind, Namespace, Name, Subresource string }

// Key says which object it is.
func (m Manifest) Key() ManifestKey {
	return ManifestKey{m.APIVersion, m.Kind, m.Namespace, m.Name, m.Subresource}
}

func (m Manifest) String() string {
	l := line{"manifest", m.Kind}
	if m.Namespace != "" {
		l.add(m.Namespace + "/" + m.Name)
	} else {
		l.add(m.Name)
	}
	l.opt("subresource", m.Subresource)
	return l.String()
}
