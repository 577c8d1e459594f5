// SPDX-License-Identifier: Apache-2.0

package walks_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/api/net/v1alpha1"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/disk"
	"github.com/magpie-edge/magpie/cni/socket"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/reconcile"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/tunnel"
	"github.com/magpie-edge/magpie/tunnel/mesh"
	"github.com/magpie-edge/magpie/tunnel/wire"
	"github.com/magpie-edge/magpie/vxlan"
)

// node is a machine and its Node.
type node struct {
	name   string
	object *corev1.Node
	agent  *agentProcess
}

func (n *node) round(objects fleet.Objects) (answer, error) {
	return n.agent.ask(order{Objects: &objects})
}

// order asks an agent for a round with these objects; without any, what it has.
// NewKey is what an operator does who deletes the key's file.
type order struct {
	Objects *fleet.Objects
	NewKey  bool
}

// answer is what it did, has and publishes. Trouble is what the next round may
// mend: an object that one loop wants and another has not given up yet.
type answer struct {
	Steps       int
	Trouble     string
	Has         string
	Annotations map[string]string
	Report      v1alpha1.LinkReportSpec
	Session     session
	Err         string
}

// session is a gateway's WireGuard: its driver, its own key, its peers and, of
// the last of them, key and handshake.
type session struct {
	Driver       kernel.Driver
	MTU          int
	Key, PeerKey string
	Peers        int
	Handshake    time.Time
}

// agentDir names the folder of a process that is a node's agent. A process of
// its own, as in life: WireGuard in user space opens its sockets wherever the
// process is, and serves its configuration below /run.
const agentDir = "MAGPIE_WALKS_AGENT"

// agentDriver is what speaks WireGuard there; "" is the product's own choice.
const agentDriver = "MAGPIE_WALKS_DRIVER"

// agentProcess is an agent as the script sees it. It ends with its input. (A
// death signal would come with the end of the thread that started it, and
// threads that have been in a namespace end.)
type agentProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
	dir string
}

func startAgent(name, dir string, driver kernel.Driver) (*agentProcess, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &agentProcess{dir: filepath.Join(dir, "agent-"+name)}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return nil, err
	}
	a.cmd = exec.Command("ip", "netns", "exec", name, exe) //nolint:noctx // ends with its input
	a.cmd.Env = append(os.Environ(), agentDir+"="+a.dir, agentDriver+"="+string(driver))
	a.cmd.Stderr = os.Stderr
	a.cmd.WaitDelay = time.Second
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	a.enc, a.dec = json.NewEncoder(a.in), json.NewDecoder(out)
	return a, a.cmd.Start()
}

func (a *agentProcess) ask(o order) (answer, error) {
	var out answer
	if err := a.enc.Encode(o); err != nil {
		return out, err
	}
	if err := a.dec.Decode(&out); err != nil {
		return out, err
	}
	if out.Err != "" {
		return out, errors.New(out.Err)
	}
	return out, nil
}

func (a *agentProcess) socket() string { return filepath.Join(a.dir, "cni.sock") }

func (a *agentProcess) close() {
	if a == nil {
		return
	}
	a.in.Close()
	a.cmd.Wait() //nolint:errcheck // it has said what was wrong
}

// agent is what cmd/magpie-agent wires, without the API server and with rounds
// when they are asked for.
type agent struct {
	dir  string
	key  *ecdh.PrivateKey
	host *kernel.Host
	view fleet.View
	pods *cni.Server
	// loops are the agent's, in its order.
	loops []loop
}

type loop struct {
	desire func(fleet.View) (plan.Plan, error)
	world  reconcile.World[plan.Plan]
}

func serveAgent(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	a, err := openAgent(ctx, dir)
	if err != nil {
		return err
	}
	defer a.host.Close()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil // the script is done
		}
		said, err := a.obey(ctx, o)
		if err != nil {
			said.Err = err.Error()
		}
		if err := out.Encode(said); err != nil {
			return err
		}
	}
}

func openAgent(ctx context.Context, dir string) (*agent, error) {
	// wgctrl finds devices in user space here, by their names alone.
	if err := os.MkdirAll("/run/wireguard", 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", "/run/wireguard", "tmpfs", 0, ""); err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	a := &agent{dir: dir}
	err := a.openKey()
	if err != nil {
		return nil, err
	}
	log := slog.New(slog.DiscardHandler)
	if a.host, err = kernel.Open(kernel.Options{
		Log: log, Keys: a, Userspace: wire.UserspaceWireGuard{Log: log}, Driver: kernel.Driver(os.Getenv(agentDriver)),
	}); err != nil {
		return nil, err
	}
	journal, err := disk.OpenJournal(filepath.Join(dir, "ledger.db"))
	if err != nil {
		return nil, err
	}
	ledger, err := cni.OpenLedger(journal, "this boot")
	if err != nil {
		return nil, err
	}
	a.pods = cni.NewServer(cni.Config{
		View: func() (fleet.View, bool) { return a.view, a.view.Self.Node != "" },
		World: a.host.Own(cni.Owner,
			kernel.WithNamespaces(func() []string { return a.pods.Namespaces() }),
			kernel.WithSysctls(func() []plan.SysctlKey { return a.pods.Settings() })),
		Door: a.host, Ledger: ledger, Now: time.Now,
	})
	a.loops = []loop{
		{vxlan.Plan, a.host.Own(vxlan.Owner)},
		{mesh.Plan, a.host.Own(mesh.Owner)},
		{a.pods.Desire, a.pods.World()},
	}
	if err := a.pods.Recover(ctx); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "cni.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of the agent before
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	server := &socket.Server{Handle: a.pods.Handle, Undelivered: a.pods.Undelivered, Limit: 1, Patience: time.Minute, Now: time.Now}
	go server.Serve(ctx, l) //nolint:errcheck // ends with ctx
	return a, nil
}

// obey is one round: read, desire, observe, apply, report.
func (a *agent) obey(ctx context.Context, o order) (answer, error) {
	var out answer
	if o.NewKey {
		if err := errors.Join(os.Remove(a.keyFile()), a.openKey()); err != nil {
			return out, err
		}
	}
	if o.Objects != nil {
		if err := a.look(*o.Objects); err != nil {
			return out, err
		}
		var trouble error
		for _, l := range a.loops {
			steps, err := l.round(ctx, a.view)
			trouble = errors.Join(trouble, err)
			out.Steps += steps
		}
		if trouble != nil {
			out.Trouble = trouble.Error()
		}
		out.Annotations = vxlan.Annotations(a.view, o.Objects.Node.Annotations)
		out.Report = v1alpha1.LinkReportSpec{PublicKey: a.view.Self.LinkKey, MTU: int32(a.view.LinkMTU())}
	}
	for _, l := range a.loops {
		have, err := l.world.Observe(ctx)
		if err != nil {
			return out, err
		}
		out.Has += have.Text()
	}
	var err error
	if out.Session, err = sessionOf(a.host, a.view.LinkMTU(), a.view.Self.LinkKey); errors.Is(err, kernel.ErrNoDevice) {
		return out, nil // no gateway
	}
	return out, err
}

func (a *agent) keyFile() string { return filepath.Join(a.dir, "link.key") }

// openKey reads the node's key or makes one, as cmd/magpie-agent does.
func (a *agent) openKey() error {
	raw, err := os.ReadFile(a.keyFile())
	if err == nil {
		a.key, err = ecdh.X25519().NewPrivateKey(raw)
		return err
	}
	if a.key, err = ecdh.X25519().GenerateKey(rand.Reader); err != nil {
		return err
	}
	return os.WriteFile(a.keyFile(), a.key.Bytes(), 0o600)
}

func (l loop) round(ctx context.Context, v fleet.View) (int, error) {
	want, err := l.desire(v)
	if err != nil {
		return 0, err
	}
	have, err := l.world.Observe(ctx)
	if err != nil {
		return 0, err
	}
	return l.world.Apply(ctx, have, want)
}

// look makes the View, as cmd/magpie-agent does.
func (a *agent) look(objects fleet.Objects) error {
	u, err := a.host.Underlay(false, []netip.Addr{netip.MustParseAddr(objects.Node.Status.Addresses[0].Address)})
	if err != nil {
		return err
	}
	mac, err := a.host.MAC(api.DeviceVXLAN4)
	if err != nil {
		return err
	}
	v, problems, err := fleet.Build(objects,
		fleet.Host{Underlay4: fleet.Underlay(u), VTEPMAC: mac, LinkKey: encode(a.key.PublicKey().Bytes()), Heard: a.heard()},
		fleet.Settings{ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, VNI: api.VNI, Port: api.PortVXLAN, Links: true})
	if err != nil || len(problems) > 0 {
		return errors.Join(err, errors.New(strings.Join(problems, "; ")))
	}
	v.Links, _ = tunnel.Choose(v)
	a.view = v
	return a.saveHeard()
}

// heard is where peers are heard, or were before the agent began anew.
func (a *agent) heard() []fleet.Heard {
	at := map[string]netip.AddrPort{}
	var last []fleet.Heard
	if b, err := os.ReadFile(a.heardFile()); err == nil && json.Unmarshal(b, &last) == nil {
		for _, h := range last {
			at[h.PublicKey] = h.At
		}
	}
	if s, err := a.host.LinkState(api.DeviceMesh); err == nil {
		for _, p := range s.Peers {
			if p.Endpoint.IsValid() {
				at[p.PublicKey] = p.Endpoint
			}
		}
	}
	var out []fleet.Heard
	for key, where := range at {
		out = append(out, fleet.Heard{PublicKey: key, At: where})
	}
	return out
}

func (a *agent) heardFile() string { return filepath.Join(a.dir, "heard.json") }

// saveHeard keeps of the View what cannot be had anew here.
func (a *agent) saveHeard() error {
	b, err := json.Marshal(a.view.Self.Heard)
	if err != nil {
		return err
	}
	return os.WriteFile(a.heardFile(), b, 0o600)
}

func encode(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// PrivateKey makes the agent the kernel.KeySource of itself.
func (a *agent) PrivateKey(string) (string, bool) { return encode(a.key.Bytes()), true }

// Preshared has none.
func (a *agent) Preshared(string) ([32]byte, bool) { return [32]byte{}, false }
