// SPDX-License-Identifier: Apache-2.0

package walks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/cni/shim"
	"github.com/magpie-edge/magpie/test/sandbox"
)

// pod is a sandbox that answers on port 80 with the address of who asks.
type pod struct {
	name  string
	node  *node
	addr  netip.Addr
	close func()
}

func (p *pod) ns() string { return "/run/netns/pod-" + p.name }

// patience bounds every exchange; the first packet over a link may wait for a
// handshake, and WireGuard repeats one that was lost after five seconds.
const patience = 10 * time.Second

// pod performs "add NAME NODE" and "del NAME".
func (w *world) pod(args []string) (string, error) {
	switch {
	case args[0] == "add" && len(args) == 3 && w.find(args[2]) != nil:
		return w.addPod(&pod{name: args[1], node: w.find(args[2]), close: func() {}})
	case args[0] == "del" && w.pods[args[1]] != nil:
		p := w.pods[args[1]]
		delete(w.pods, p.name)
		p.close()
		out, err := p.call("DEL")
		return out, errors.Join(err, run("ip netns del pod-"+p.name))
	}
	return "", fmt.Errorf("pod %s: no such node, pod or verb", strings.Join(args, " "))
}

func (w *world) addPod(p *pod) (string, error) {
	if err := w.namespace("pod-" + p.name); err != nil {
		return "", err
	}
	out, err := p.call("ADD")
	if err != nil {
		return out, err
	}
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return out, err
	}
	p.addr = result.IPs[0].Address.Addr()
	w.pods[p.name] = p
	return out, p.serve()
}

// call does what cmd/magpie-cni does when a runtime starts it.
func (p *pod) call(command string) (string, error) {
	config, err := json.Marshal(map[string]string{"cniVersion": "1.1.0", "name": cni.NetworkName, "type": cni.Program})
	if err != nil {
		return "", err
	}
	env := map[string]string{
		"CNI_COMMAND": command, "CNI_CONTAINERID": "sandbox-" + p.name, "CNI_NETNS": p.ns(), "CNI_IFNAME": "eth0",
		"CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.name,
	}
	var out bytes.Buffer
	exit := shim.Call{
		Getenv: func(key string) string { return env[key] },
		Stdin:  bytes.NewReader(config), Stdout: &out,
		Dial: func() (io.ReadWriteCloser, error) { return net.Dial("unix", p.node.agent.socket()) }, //nolint:noctx // local
	}.Run()
	if exit != 0 {
		return "", fmt.Errorf("CNI %s: %s", command, out.String())
	}
	return out.String(), nil
}

func (p *pod) serve() error {
	type both struct {
		net.Listener
		net.PacketConn
	}
	at := netip.AddrPortFrom(p.addr, 80).String()
	s, err := sandbox.At(p.ns(), func() (s both, err error) {
		if s.Listener, err = net.Listen("tcp", at); err == nil { //nolint:noctx // closed below
			s.PacketConn, err = net.ListenPacket("udp", at) //nolint:noctx // closed below
		}
		return s, err
	})
	if err != nil {
		return err
	}
	p.close = func() { s.Listener.Close(); s.PacketConn.Close() }
	go func() {
		for c, err := s.Accept(); err == nil; c, err = s.Accept() {
			fmt.Fprint(c, c.RemoteAddr())
			c.Close()
		}
	}()
	go func() {
		b := make([]byte, 16)
		for _, from, err := s.ReadFrom(b); err == nil; _, from, err = s.ReadFrom(b) {
			s.WriteTo([]byte(from.String()), from) //nolint:errcheck // the caller asks again
		}
	}()
	return nil
}

// send performs "FROM TO".
func (w *world) send(args []string) (string, error) {
	from, to := w.pods[args[0]], w.pods[args[1]]
	if from == nil || to == nil {
		return "", fmt.Errorf("send %s: no such pod", strings.Join(args, " "))
	}
	var b strings.Builder
	for _, network := range []string{"tcp", "udp"} {
		seen, err := from.ask(network, netip.AddrPortFrom(to.addr, 80).String())
		if err != nil {
			return b.String(), fmt.Errorf("%s from %s (%s) to %s (%s): %w", network, from.name, from.addr, to.name, to.addr, err)
		}
		fmt.Fprintf(&b, "%s: %s sees %s\n", network, to.name, seen)
	}
	return b.String(), nil
}

// ask returns the address that a pod sees. A datagram may be lost while a
// session of WireGuard begins, so it is sent again.
func (p *pod) ask(network, at string) (netip.Addr, error) {
	d := net.Dialer{Timeout: patience}
	c, err := sandbox.At(p.ns(), func() (net.Conn, error) { return d.Dial(network, at) })
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	b := make([]byte, 64)
	for until := time.Now().Add(patience); ; {
		if network == "udp" {
			if _, err := c.Write([]byte("?")); err != nil {
				return netip.Addr{}, err
			}
		}
		c.SetReadDeadline(time.Now().Add(patience / 20)) //nolint:errcheck // the read sees it
		n, err := c.Read(b)
		if err == nil {
			seen, err := netip.ParseAddrPort(string(b[:n]))
			return seen.Addr(), err
		}
		if time.Now().After(until) {
			return netip.Addr{}, err
		}
	}
}
