// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
	certv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/tunnel/identity"
)

// answers is how many requests are answered at a time: after an installation
// every node of the cluster asks at once.
const answers = 8

// Answers is the world of the requests: applying a decision writes condition
// and certificate.
func (i *Issuer) Answers() reconcile.World[[]identity.Decision] { return answerWorld{i} }

type answerWorld struct{ *Issuer }

// Observe returns nothing: what was answered is in the requests, and no
// decision is made about it again.
func (answerWorld) Observe(context.Context) ([]identity.Decision, error) { return nil, nil }

func (w answerWorld) Apply(ctx context.Context, _, want []identity.Decision) (int, error) {
	errs := make([]error, len(want))
	var group errgroup.Group
	group.SetLimit(answers)
	for n, d := range want {
		group.Go(func() error {
			if err := w.answer(ctx, d); err != nil {
				errs[n] = fmt.Errorf("answer request %s: %w", d.Request, err)
			}
			return nil
		})
	}
	_ = group.Wait()
	done := 0
	for _, err := range errs {
		if err == nil {
			done++
		}
	}
	return done, errors.Join(errs...)
}

// answer writes the approval, by its own subresource, then the certificate.
func (w answerWorld) answer(ctx context.Context, d identity.Decision) error {
	csr := w.Request(d.Request)
	if csr == nil {
		return nil // deleted since
	}
	csr = csr.DeepCopy()
	conditions, changed := identity.Conditions(csr, d.Verdict)
	csr.Status.Conditions = conditions
	part := "approval"
	if conditions[len(conditions)-1].Type == certv1.CertificateFailed {
		part = "status"
	}
	var err error
	if changed {
		err = w.requests.update(ctx, csr, part)
	}
	if err == nil && d.Verdict.Granted() {
		err = w.sign(ctx, csr, d.Verdict.Grant)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	w.stores.await(ctx, written{kind: requestKind(csr.Spec.SignerName).name, name: csr.Name, version: csr.ResourceVersion})
	if w.o.Answered != nil {
		w.o.Answered(d)
	}
	return nil
}

func (w answerWorld) sign(ctx context.Context, csr *certv1.CertificateSigningRequest, g identity.Grant) error {
	s, err := w.Safe()
	if err := errors.Join(err, s.Err); err != nil {
		return err
	}
	if !s.Filled {
		return reconcile.ErrNotReady
	}
	csr.Status.Certificate, err = s.Vault.Sign.Sign(rand.Reader, s.Now, g)
	if err != nil {
		return err
	}
	return w.requests.update(ctx, csr, "status")
}
