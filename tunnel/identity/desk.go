// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	certv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/plan"
)

// PerHour is how many certificates one name gets in an hour, which is how long
// the API keeps a request that was answered. A node that needs more is broken,
// or somebody else has its token.
const PerHour = 20

// Decision is what is to be written to one request.
type Decision struct {
	Request string // its name
	Verdict Verdict
}

// Decide judges all requests that are still open, and says of all that were
// refused, or have to wait, why. The order of the requests carries no meaning.
func Decide(requests []*certv1.CertificateSigningRequest, r Rules) ([]Decision, []plan.Note) {
	requests = slices.Clone(requests)
	slices.SortFunc(requests, func(a, b *certv1.CertificateSigningRequest) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var out []Decision
	var notes []plan.Note
	granted := map[string]int{}
	for _, csr := range requests {
		if len(csr.Status.Certificate) > 0 {
			granted[requester(csr)]++
			continue
		}
		v, open := decide(csr, r, granted)
		if open && !v.Wait {
			out = append(out, Decision{csr.Name, v})
		}
		if !v.Granted() {
			notes = append(notes, plan.Note{Subject: subject(csr), Code: v.Code, Text: "request " + csr.Name + ": " + v.Text})
		}
	}
	return out, notes
}

// decide judges a request that has no certificate, and counts it if it is to
// have one. It is not open any more when it was refused before.
func decide(csr *certv1.CertificateSigningRequest, r Rules, granted map[string]int) (v Verdict, open bool) {
	if code, text, closed := closing(csr); closed {
		return Verdict{Code: code, Text: text}, false
	}
	v, err := Judge(csr, r)
	if err != nil || !v.Granted() {
		return v, err == nil
	}
	if granted[requester(csr)] >= PerHour {
		return Verdict{Code: NoteTooMany, Text: v.Grant.Name + " asked for too many certificates within the last hour"}, true
	}
	granted[requester(csr)]++
	return v, true
}

// requester is who asks, as the API server says.
func requester(csr *certv1.CertificateSigningRequest) string {
	return strings.Join([]string{csr.Spec.Username, only(csr.Spec.Extra[api.TokenNode]), only(csr.Spec.Extra[api.TokenPod])}, " ")
}

// closing reads why a request was refused.
func closing(csr *certv1.CertificateSigningRequest) (code, text string, closed bool) {
	for _, c := range csr.Status.Conditions {
		if c.Status == corev1.ConditionFalse || c.Type != certv1.CertificateDenied && c.Type != certv1.CertificateFailed {
			continue
		}
		for _, code := range []string{
			NoteStranger, NoteBadRequest, NoteNotItsName, NoteNoClaim, NoteNodeReplaced, NoteTooMany,
		} {
			if c.Reason == Reason(code) {
				return code, c.Message, true
			}
		}
		return NoteDenied, "denied by somebody else: " + quote(c.Message), true
	}
	return "", "", false
}

// NoteDenied is the code of a Note about a request that somebody else denied.
const NoteDenied = "tunnel-denied-by-hand"

// Conditions returns the request's conditions with the verdict's in addition;
// false where it is there already. A request that somebody approved and that
// we do not grant gets Failed: Approved and Denied exclude each other.
func Conditions(csr *certv1.CertificateSigningRequest, v Verdict) ([]certv1.CertificateSigningRequestCondition, bool) {
	approved := slices.ContainsFunc(csr.Status.Conditions, func(c certv1.CertificateSigningRequestCondition) bool {
		return c.Type == certv1.CertificateApproved
	})
	c := certv1.CertificateSigningRequestCondition{
		Type: certv1.CertificateApproved, Status: corev1.ConditionTrue,
		Reason: "MagpieTunnel", Message: "the requester may have this name",
	}
	switch {
	case v.Granted() && approved:
		return csr.Status.Conditions, false
	case !v.Granted():
		c.Type, c.Reason, c.Message = certv1.CertificateDenied, Reason(v.Code), v.Text
		if approved {
			c.Type = certv1.CertificateFailed
		}
	}
	return append(slices.Clone(csr.Status.Conditions), c), true
}

// Reason is a Note's code as a condition and an Event write it:
// "tunnel-stranger", "TunnelStranger".
func Reason(code string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(code, "-") {
		if word != "" {
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// subject is what a Note is about: the node or pod that asked, where the API
// server knows it.
func subject(csr *certv1.CertificateSigningRequest) string {
	if node, ok := kubeletOf(csr.Spec); ok {
		return "node " + node
	}
	if node := only(csr.Spec.Extra[api.TokenNode]); node != "" {
		return "node " + node
	}
	return "request " + csr.Name
}

// ErrNotIssued says that a request was refused, and why.
var ErrNotIssued = errors.New("the certificate is refused")

// Issued reads the answer to a request: the certificate, nothing yet, or
// ErrNotIssued.
func Issued(csr *certv1.CertificateSigningRequest) ([]byte, error) {
	for _, c := range csr.Status.Conditions {
		if c.Type == certv1.CertificateDenied || c.Type == certv1.CertificateFailed {
			return nil, &refusedError{c.Reason, c.Message}
		}
	}
	return csr.Status.Certificate, nil
}

type refusedError struct{ reason, message string }

func (r *refusedError) Error() string {
	return ErrNotIssued.Error() + ": " + r.reason + ": " + r.message
}
func (r *refusedError) Unwrap() error { return ErrNotIssued }
