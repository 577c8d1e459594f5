// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/magpie-edge/magpie/plan"
)

// defaultMTU is what WireGuard devices have when a plan does not say.
const defaultMTU = 1420

// wireGuard configures WireGuard devices, in the kernel or in this process,
// through one interface.
type wireGuard struct {
	home      string
	keys      KeySource
	userspace WireGuardStarter
	driver    Driver // "": whichever there is

	mu      sync.Mutex
	client  *wgctrl.Client // nil until first used
	running map[string]io.Closer
	// refs are the names of the pre-shared keys that were asked for: the
	// kernel keeps the key and not its name.
	refs map[wgtypes.Key]string
}

func newWireGuard(o Options) *wireGuard {
	return &wireGuard{
		home: o.Namespace, keys: o.Keys, userspace: o.Userspace, driver: o.Driver,
		running: map[string]io.Closer{}, refs: map[wgtypes.Key]string{},
	}
}

func (w *wireGuard) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for name, c := range w.running {
		errs = append(errs, c.Close())
		delete(w.running, name)
	}
	if w.client != nil {
		errs = append(errs, w.client.Close())
	}
	return errors.Join(errs...)
}

// control returns the client. The caller holds the mutex.
func (w *wireGuard) control() (*wgctrl.Client, error) {
	if w.client != nil {
		return w.client, nil
	}
	err := inNS(w.home, func() (err error) {
		w.client, err = wgctrl.New()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("wireguard control socket: %w", err)
	}
	return w.client, nil
}

// device asks for the configuration of a device. The caller holds the mutex.
func (w *wireGuard) device(name string) (*wgtypes.Device, error) {
	c, err := w.control()
	if err != nil {
		return nil, err
	}
	d, err := c.Device(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("wireguard device %s: %w", name, ErrNoDevice)
	}
	if err != nil {
		return nil, fmt.Errorf("wireguard device %s: %w", name, err)
	}
	return d, nil
}

func (w *wireGuard) configure(name string, c wgtypes.Config) (int, error) {
	client, err := w.control()
	if err != nil {
		return 0, err
	}
	return wrote(client.ConfigureDevice(name, c))
}

// create makes the device in the kernel or, where the kernel has none of the
// kind, in this process.
func (w *wireGuard) create(c *conn, d plan.Device, a netlink.LinkAttrs) (int, error) {
	if d.NS != "" {
		return 0, errors.New("wireguard devices live in the host only")
	}
	if _, err := w.privateKey(d.PublicKey); err != nil {
		return 0, err
	}
	w.stop(d.Name) // what ran a device that somebody has removed
	if w.driver != DriverUserspace {
		err := c.LinkAdd(&netlink.Wireguard{LinkAttrs: a})
		if err == nil {
			return 1, w.forget()
		}
		if !errors.Is(err, unix.EOPNOTSUPP) || w.driver == DriverKernel {
			return wrote(err)
		}
	}
	return w.start(d)
}

// forget drops the client. One that was made while the kernel had no WireGuard
// never looks there again, though the module may have come since.
func (w *wireGuard) forget() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client == nil {
		return nil
	}
	err := w.client.Close()
	w.client = nil
	return err
}

// start makes the device in this process.
func (w *wireGuard) start(d plan.Device) (int, error) {
	if w.userspace == nil {
		return 0, errors.New("the kernel has no wireguard, and no other is at hand")
	}
	mtu := d.MTU
	if mtu == 0 {
		mtu = defaultMTU
	}
	var closer io.Closer
	err := inNS(w.home, func() (err error) {
		closer, err = w.userspace.Start(d.Name, mtu)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("start wireguard in user space: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[d.Name] = closer
	return 1, nil
}

func (w *wireGuard) privateKey(public string) (wgtypes.Key, error) {
	if w.keys == nil {
		return wgtypes.Key{}, errors.New("no source of wireguard keys")
	}
	text, ok := w.keys.PrivateKey(public)
	if !ok {
		return wgtypes.Key{}, fmt.Errorf("no private key for public key %s", public)
	}
	key, err := wgtypes.ParseKey(text)
	if err != nil {
		return wgtypes.Key{}, fmt.Errorf("private key for public key %s: %w", public, err)
	}
	if key.PublicKey().String() != public {
		return wgtypes.Key{}, fmt.Errorf("private key does not belong to public key %s", public)
	}
	return key, nil
}

// stop ends the device that runs in this process under that name, if any.
func (w *wireGuard) stop(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.running[name]; c != nil {
		c.Close() // its device is going anyhow
		delete(w.running, name)
	}
}

// adjust sets key and port where they differ. Peers are not touched.
func (w *wireGuard) adjust(d plan.Device) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	have, err := w.device(d.Name)
	if err != nil {
		return 0, err
	}
	var c wgtypes.Config
	if have.PublicKey.String() != d.PublicKey {
		key, err := w.privateKey(d.PublicKey)
		if err != nil {
			return 0, err
		}
		c.PrivateKey = &key
	}
	if d.ListenPort != 0 && have.ListenPort != d.ListenPort {
		c.ListenPort = &d.ListenPort
	}
	if c.PrivateKey == nil && c.ListenPort == nil {
		return 0, nil
	}
	return w.configure(d.Name, c)
}

// read fills in what wgctrl knows of our devices, and their peers. A device
// that nobody serves is unsound: its process has gone.
func (w *wireGuard) read(p *plan.Plan) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range p.Devices {
		d := &p.Devices[i]
		if d.NS != "" || (d.Kind != plan.WireGuard && d.Kind != plan.WireGuard+unsound) {
			continue
		}
		have, err := w.device(d.Name)
		if errors.Is(err, ErrNoDevice) {
			d.Kind = plan.WireGuard + unsound
			continue
		}
		if err != nil {
			return err
		}
		d.MAC, d.ListenPort, d.PublicKey = "", have.ListenPort, have.PublicKey.String()
		for _, peer := range have.Peers {
			w.readPeer(d.Name, peer, p)
		}
	}
	return nil
}

func (w *wireGuard) readPeer(dev string, peer wgtypes.Peer, p *plan.Plan) {
	key := peer.PublicKey.String()
	p.Peers = append(p.Peers, plan.Peer{
		Dev: dev, PublicKey: key, PresharedRef: w.refOf(peer.PresharedKey),
		Endpoint:  addrPort(peer.Endpoint),
		Keepalive: int(peer.PersistentKeepaliveInterval / time.Second),
	})
	for _, n := range peer.AllowedIPs {
		if prefix, ok := toPrefix(&n); ok {
			p.Allowed = append(p.Allowed, plan.Allowed{Dev: dev, Prefix: prefix, Peer: key})
		}
	}
}

func (w *wireGuard) refOf(key wgtypes.Key) string {
	if key == (wgtypes.Key{}) {
		return ""
	}
	if ref, ok := w.refs[key]; ok {
		return ref
	}
	return "unknown"
}

func addrPort(a *net.UDPAddr) netip.AddrPort {
	if a == nil {
		return netip.AddrPort{}
	}
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// writePeer adds, changes or removes one peer and leaves all others alone. A
// change that changes nothing (after a restart the name of a pre-shared key is
// not known yet) is no write.
func (w *wireGuard) writePeer(p plan.Peer, op plan.Op) (int, error) {
	key, err := wgtypes.ParseKey(p.PublicKey)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	have, err := w.device(p.Dev)
	if err != nil {
		if op == plan.Remove && errors.Is(err, ErrNoDevice) {
			return 0, nil
		}
		return 0, err
	}
	i := slices.IndexFunc(have.Peers, func(x wgtypes.Peer) bool { return x.PublicKey == key })
	if op == plan.Remove {
		if i < 0 {
			return 0, nil
		}
		return w.configure(p.Dev, wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: key, Remove: true}}})
	}
	c, err := w.peerConfig(p, key)
	if err != nil {
		return 0, err
	}
	if i < 0 && c.Endpoint == nil && p.Last.IsValid() {
		c.Endpoint = net.UDPAddrFromAddrPort(p.Last)
	}
	if i >= 0 {
		c.UpdateOnly = true
		now := have.Peers[i]
		if now.PresharedKey == *c.PresharedKey && now.PersistentKeepaliveInterval == *c.PersistentKeepaliveInterval &&
			(!p.Endpoint.IsValid() || addrPort(now.Endpoint) == p.Endpoint) {
			return 0, nil
		}
	}
	return w.configure(p.Dev, wgtypes.Config{Peers: []wgtypes.PeerConfig{c}})
}

func (w *wireGuard) peerConfig(p plan.Peer, key wgtypes.Key) (wgtypes.PeerConfig, error) {
	var shared wgtypes.Key
	if p.PresharedRef != "" {
		if w.keys == nil {
			return wgtypes.PeerConfig{}, errors.New("no source of wireguard keys")
		}
		secret, ok := w.keys.Preshared(p.PresharedRef)
		if !ok {
			return wgtypes.PeerConfig{}, fmt.Errorf("no pre-shared key %s", p.PresharedRef)
		}
		shared = secret
		w.refs[shared] = p.PresharedRef
	}
	keepalive := time.Duration(p.Keepalive) * time.Second
	c := wgtypes.PeerConfig{PublicKey: key, PresharedKey: &shared, PersistentKeepaliveInterval: &keepalive}
	if p.Endpoint.IsValid() {
		c.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
	}
	return c, nil
}

// writeAllowed gives a prefix to a peer, or takes it away. Giving moves it from
// whoever had it, in one write. There is no message that takes one prefix away
// without naming all the others, so a peer that lives for the length of one
// message takes it along.
func (w *wireGuard) writeAllowed(a plan.Allowed, drop bool) (int, error) {
	key, err := wgtypes.ParseKey(a.Peer)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	peer := wgtypes.PeerConfig{PublicKey: key, UpdateOnly: true, AllowedIPs: []net.IPNet{*toIPNet(a.Prefix)}}
	if !drop {
		return w.configure(a.Dev, wgtypes.Config{Peers: []wgtypes.PeerConfig{peer}})
	}
	if _, err := w.device(a.Dev); errors.Is(err, ErrNoDevice) {
		return 0, nil
	}
	peer.PublicKey, peer.UpdateOnly = sha256.Sum256([]byte("magpie takes an allowed ip away")), false
	return w.configure(a.Dev, wgtypes.Config{Peers: []wgtypes.PeerConfig{
		peer, {PublicKey: peer.PublicKey, Remove: true},
	}})
}
