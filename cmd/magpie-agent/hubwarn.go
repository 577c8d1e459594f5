// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/plan"
)

const (
	// warnSpread is within which time agents tell: all see a Service at once.
	warnSpread = 5 * time.Second
	// warnAgain is when what could not be told is tried again.
	warnAgain = 30 * time.Second
	// warnMost are kept meanwhile.
	warnMost = 256
)

// warner makes Events of notes on Services. Every node has the same to say, so
// the Event's name is made of what it says: the first to tell makes it, and to
// the others it is there already.
type warner struct {
	events dynamic.NamespaceableResourceInterface
	node   string
	log    *slog.Logger
	said   chan *corev1.Event
}

func newWarner(account *rest.Config, node string, log *slog.Logger) (*warner, error) {
	c, err := dynamic.NewForConfig(account)
	if err != nil {
		return nil, fmt.Errorf("make client of events: %w", err)
	}
	return &warner{
		events: c.Resource(corev1.SchemeGroupVersion.WithResource("events")), node: node, log: log,
		said: make(chan *corev1.Event, warnMost),
	}, nil
}

// warn takes a note. It does not wait; one too many is in the log only.
func (w *warner) warn(s *corev1.Service, n plan.Note) {
	w.log.Warn("annotation of a service says nothing known", "subject", n.Subject, "code", n.Code, "text", n.Text)
	at := metav1.NewTime(now())
	sum := sha256.Sum256([]byte(string(s.UID) + "\n" + n.Code + "\n" + n.Text))
	e := &corev1.Event{
		TypeMeta:       metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:     metav1.ObjectMeta{Namespace: s.Namespace, Name: fmt.Sprintf("%s.%x", s.Name, sum[:8])},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID},
		Type:           corev1.EventTypeWarning, Reason: reasonOf(n.Code), Message: n.Text, Count: 1,
		Source:         corev1.EventSource{Component: "magpie-agent", Host: w.node},
		FirstTimestamp: at, LastTimestamp: at,
	}
	select {
	case w.said <- e:
	default:
	}
}

// reasonOf writes a code as Kubernetes writes reasons: "UnknownTopology".
func reasonOf(code string) string {
	var out []byte
	up := true
	for i := range len(code) {
		switch c := code[i]; {
		case c == '-':
			up = true
		case up && c >= 'a' && c <= 'z':
			out, up = append(out, c-'a'+'A'), false
		default:
			out, up = append(out, c), false
		}
	}
	return string(out)
}

// run tells what was said until ctx ends, and keeps what cannot be told yet.
func (w *warner) run(ctx context.Context) error {
	var left []*corev1.Event
	for {
		var again <-chan time.Time
		if len(left) > 0 {
			again = time.After(warnAgain)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-w.said:
			left = append(left, e)
			pause(ctx, rand.N(warnSpread)) //nolint:gosec // it only spreads
		case <-again:
		}
		left = w.tell(ctx, left)
	}
}

// tell returns what could not be told.
func (w *warner) tell(ctx context.Context, events []*corev1.Event) []*corev1.Event {
	var left []*corev1.Event
	for _, e := range events {
		u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(e)
		if err == nil {
			_, err = w.events.Namespace(e.Namespace).Create(ctx, &unstructured.Unstructured{Object: u}, metav1.CreateOptions{})
		}
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
		case apierrors.IsForbidden(err), apierrors.IsNotFound(err), apierrors.IsInvalid(err):
			w.log.Debug("event is not taken", "subject", e.InvolvedObject.Name, "err", err) // nor will it be
		case len(left) < warnMost:
			left = append(left, e)
		}
	}
	return left
}
