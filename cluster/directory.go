// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/tunnel/directory"
)

// DirectoryOptions say what a gateway is.
type DirectoryOptions struct {
	// Namespace and Service of the headless Service whose endpoints are the
	// instances of the gateway.
	Namespace, Service string
	// Now is the clock.
	Now func() time.Time
	Log *slog.Logger
}

// Directory is the door of magpie-gateway: who is where, which nodes are gone,
// and what a caller may do.
type Directory struct {
	client kubernetes.Interface
	o      DirectoryOptions
	bell   bell
	gone   chan Removed
}

// Removed is a Node that exists no more: its sessions are to be cut.
type Removed struct {
	Node string
	UID  string // of the Node that is gone; another may have its name now
	Why  string // for a person
}

// Instance is one gateway.
type Instance struct {
	Name  string // of its pod, as in its certificate
	Addr  netip.Addr
	Ready bool
}

// User is who a token belongs to.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string][]string
}

// Why a caller of an entry is refused.
var (
	ErrUnauthenticated = errors.New("the token is nobody's")
	ErrForbidden       = errors.New("not allowed")
)

// NewDirectory makes the door; it does not connect.
func NewDirectory(cfg *rest.Config, o DirectoryOptions) (*Directory, error) {
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Directory{client: client, o: o, gone: make(chan Removed)}, nil
}

// Run watches until ctx ends and returns ctx.Err().
func (d *Directory) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Ready returns reconcile.ErrNotReady until the API has said everything once.
func (d *Directory) Ready() error { return reconcile.ErrNotReady }

// Changed returns a new channel that receives after each change.
func (d *Directory) Changed() <-chan struct{} { return d.bell.listen() }

// Removed delivers each Node that was deleted, or made again with another UID.
// It has one reader; nothing is lost while that is busy.
func (d *Directory) Removed() <-chan Removed { return d.gone }

// NodeUID returns the UID of a Node; false when there is no such Node.
func (d *Directory) NodeUID(string) (string, bool) { return "", false }

// Resolve finds the ways to host and port, best first; its errors are those of
// package directory, or reconcile.ErrNotReady.
func (d *Directory) Resolve(string, uint16) ([]directory.Route, error) {
	return nil, reconcile.ErrNotReady
}

// Instances are all gateway instances, sorted by name.
func (d *Directory) Instances() []Instance { return nil }

// Authenticate asks the API server whose token it is; ErrUnauthenticated if it
// is nobody's.
func (d *Directory) Authenticate(context.Context, string) (User, error) {
	return User{}, reconcile.ErrNotReady
}

// Authorize asks whether the user may do verb ("get", "create") on a
// subresource ("proxy", "metrics", "stats", "log", "") of a node; ErrForbidden
// if not.
func (d *Directory) Authorize(context.Context, User, string, string, string) error {
	return reconcile.ErrNotReady
}
