// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/vishvananda/netlink/nl"

	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/plan"
)

// KeySource holds the secrets that a plan names only by reference.
type KeySource interface {
	// PrivateKey returns the base64 private key that belongs to publicKey.
	PrivateKey(publicKey string) (string, bool)
	// Preshared returns the pre-shared key of that reference.
	Preshared(ref string) ([32]byte, bool)
}

// WireGuardStarter starts a WireGuard device in this process, for kernels that
// have none. It must leave a TUN device called name and its UAPI socket, so
// that it can be configured like a device of the kernel.
type WireGuardStarter interface {
	Start(name string, mtu int) (io.Closer, error)
}

// Driver is what speaks WireGuard on a node.
type Driver string

// The drivers. A node takes the kernel's where there is one.
const (
	DriverKernel    Driver = "kernel"
	DriverUserspace Driver = "userspace" // wireguard-go, in the agent
)

// Options are what Open needs from its caller. The zero value is usable: it
// logs nowhere and refuses WireGuard devices.
type Options struct {
	Log *slog.Logger
	// Namespace is the path of the network namespace that plans call "": the
	// host. "" is the one this process is in. Set by tests and the lab, which
	// have several hosts in one process.
	Namespace string
	Keys      KeySource        // nil: no WireGuard device can be made
	Userspace WireGuardStarter // nil: WireGuard must be in the kernel
	// Driver makes new WireGuard devices, and no other. "" is the kernel where it
	// can, else Userspace. Set by tests, which hold both to the same.
	Driver Driver
}

// Host is the real kernel, seen from one network namespace. Safe for
// concurrent use.
type Host struct {
	home string // Options.Namespace
	log  *slog.Logger
	conn *conn
	wg   *wireGuard
	nft  *nft
	ipt  *accepts
	fast fastPath
}

// reportOnce guards the library's package variable that makes error texts of
// the kernel part of the errors we return.
var reportOnce sync.Once //nolint:gochecknoglobals // guards a variable of the library

// Open prepares the door. Close releases it and leaves the kernel as it is.
func Open(o Options) (*Host, error) {
	reportOnce.Do(func() { nl.EnableErrorMessageReporting = true })
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	h := &Host{log: o.Log, home: o.Namespace}
	c, err := h.dial("")
	if err != nil {
		return nil, fmt.Errorf("open kernel door: %w", err)
	}
	// The one connection that several goroutines share must have all it needs
	// from the start.
	if _, err := c.strict(); err != nil {
		c.close()
		return nil, fmt.Errorf("open kernel door: %w", err)
	}
	h.conn = c
	n, err := openNFT(o.Namespace)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("open kernel door: %w", err)
	}
	h.nft = n
	h.wg = newWireGuard(o)
	h.ipt = newAccepts(o.Namespace, n)
	return h, nil
}

// Close releases sockets and stops WireGuard devices that run inside this
// process. Everything else in the kernel stays.
func (h *Host) Close() error {
	h.conn.close()
	return errors.Join(h.nft.close(), h.wg.close(), h.fast.close())
}

// scope is what an Own looks at beside the objects that carry its mark.
type scope struct {
	namespaces func() []string
	sysctls    func() []plan.SysctlKey
}

// OwnOption widens what Observe looks at.
type OwnOption func(*scope)

// WithNamespaces makes Observe look into these network namespaces, too. The
// function is called at each Observe; a path that is gone counts as empty.
func WithNamespaces(paths func() []string) OwnOption {
	return func(s *scope) { s.namespaces = paths }
}

// WithSysctls makes Observe report these settings from the first round on.
// Without it Observe reports the settings that Apply was given so far, as long
// as they exist: a setting has no owner's mark, so somebody must say which ones
// matter.
func WithSysctls(keys func() []plan.SysctlKey) OwnOption {
	return func(s *scope) { s.sysctls = keys }
}

// Own returns the part of the kernel that carries the owner's mark.
func (h *Host) Own(owner plan.Owner, options ...OwnOption) reconcile.World[plan.Plan] {
	w := &world{host: h, owner: owner}
	for _, o := range options {
		o(&w.scope)
	}
	return w
}

// world is one owner's part of the kernel.
type world struct {
	host     *Host
	owner    plan.Owner
	scope    scope
	settings settings
}

// Observe returns what the owner has in the kernel. See reconcile.World.
func (w *world) Observe(ctx context.Context) (plan.Plan, error) {
	var p plan.Plan
	err := retryInterrupted(ctx, func() error {
		r, err := w.newReader()
		if err != nil {
			return err
		}
		defer r.close()
		p, err = r.read(ctx)
		return err
	})
	if err != nil {
		return plan.Plan{}, fmt.Errorf("observe %s: %w", w.owner.Name, err)
	}
	Sort(&p)
	return p, nil
}

// Apply writes the difference between have and want. See reconcile.World.
func (w *world) Apply(ctx context.Context, have, want plan.Plan) (int, error) {
	w.settings.rememberAll(want.Sysctls)
	h := newHand(w.host, w.owner)
	defer h.close()
	return apply(ctx, h, have, want)
}
