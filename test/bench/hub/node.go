// SPDX-License-Identifier: Apache-2.0

package hub

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// host is a node: its namespace, its line to the API server, its programs.
type host struct {
	name  string
	dir   string // files of its programs
	space *stage.Space
	relay *relay
	rules *rules
	// direct reads from the API server over the relay, through the hub; nil on
	// a node that has none.
	direct, through *rest.Config
	running         map[string]*stage.Child
}

// newHost makes a node without programs. Its address is on lo: nothing else is
// needed to be one.
func newHost(ctx context.Context, server *rest.Config, dir, name string) (_ *host, err error) {
	h := &host{name: name, dir: filepath.Join(dir, name), running: map[string]*stage.Child{}}
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	if h.space, err = stage.NewSpace(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if err := h.space.Command(ctx, "ip", "addr", "add", nodeAddr+"/32", "dev", "lo"); err != nil {
		return nil, err
	}
	if h.relay, err = newRelay(ctx, h.space, server.Host); err != nil {
		return nil, err
	}
	if h.rules, err = hearRules(h.space); err != nil {
		return nil, err
	}
	h.direct = h.inside(server, "https://"+relayAt, server.CAFile)
	return h, nil
}

// inside is a client's configuration whose connections begin in the namespace.
func (h *host) inside(cfg *rest.Config, url, ca string) *rest.Config {
	out := rest.CopyConfig(cfg)
	out.Host, out.CAFile, out.QPS = url, ca, -1
	out.Dial = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = h.space.Do(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
	return out
}

// run starts a program under a name.
func (h *host) run(ctx context.Context, name string, args, env []string) error {
	c, err := h.space.Run(ctx, stage.Program{Args: args, Env: env, Log: h.log(name)})
	if err != nil {
		return fmt.Errorf("%s: %w", h.name, err)
	}
	h.running[name] = c
	return nil
}

func (h *host) log(name string) string { return filepath.Join(h.dir, name+".log") }

// end ends the program of that name.
func (h *host) end(name string) error {
	c := h.running[name]
	if c == nil {
		return nil
	}
	delete(h.running, name)
	return c.End()
}

func (h *host) close() {
	for _, c := range h.running {
		c.Stop()
	}
	if h.rules != nil {
		h.rules.close()
	}
	if h.relay != nil {
		_ = h.relay.listener.Close()
	}
	h.space.Close()
}

// startAgent runs the agent as the chart does, and waits for its hub if it
// shall have one.
func (h *host) startAgent(ctx context.Context, withHub bool) error {
	state := filepath.Join(h.dir, "state")
	config := filepath.Join(h.dir, "agent.yaml")
	text := fmt.Sprintf("clusterCIDRs: [%s]\nhub: {enabled: %t}\ntunnel: {enabled: false}\n"+
		"stateDir: %s\nrunDir: %s/run\ncniBinDir: %s/bin\ncniConfDir: %s/net.d\n", podRange, withHub, state, h.dir, h.dir, h.dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write config: %w", err)
	}
	addr, port, err := net.SplitHostPort(relayAt)
	if err != nil {
		return fmt.Errorf("address of the relay: %w", err)
	}
	env := []string{"KUBERNETES_SERVICE_HOST=" + addr, "KUBERNETES_SERVICE_PORT=" + port}
	if err := h.run(ctx, "agent", []string{ours("magpie-agent"), "run", "--config", config, "--node-name", h.name}, env); err != nil {
		return err
	}
	if !withHub {
		return nil
	}
	ca := filepath.Join(state, "hub", client.FileCA)
	h.through = h.inside(h.direct, client.URL(api.HubLoopback), ca)
	return until(ctx, "the hub answers", func() error {
		if _, err := os.Stat(ca); err != nil {
			return fmt.Errorf("look for the hub's files: %w", err)
		}
		c, err := rest.HTTPClientFor(h.through)
		if err != nil {
			return fmt.Errorf("make client: %w", err)
		}
		defer c.CloseIdleConnections()
		return ready(ctx, c, h.through)
	})
}

// account is where a pod has its token. It is below the private /run of this
// benchmark. Source: rest.InClusterConfig.
const account = "/var/run/secrets/kubernetes.io/serviceaccount"

// writeAccount gives the programs of all nodes the administrator's token: what
// an account may do is not measured.
func writeAccount(cfg *rest.Config) error {
	ca, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return fmt.Errorf("read authority: %w", err)
	}
	return errors.Join(os.MkdirAll(account, 0o755),
		os.WriteFile(filepath.Join(account, "ca.crt"), ca, 0o600),
		os.WriteFile(filepath.Join(account, "token"), []byte(cfg.BearerToken), 0o600))
}

// kubeconfig writes a client's configuration for a program.
func kubeconfig(cfg *rest.Config, path string) error {
	c := clientcmdapi.NewConfig()
	c.Clusters["c"] = &clientcmdapi.Cluster{Server: cfg.Host, CertificateAuthority: cfg.CAFile}
	c.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: cfg.BearerToken}
	c.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	c.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		return fmt.Errorf("write kubeconfig: %w", err)
	}
	return nil
}

// until repeats check until it returns nil.
func until(ctx context.Context, what string, check func() error) error {
	const patience = time.Minute
	end := time.Now().Add(patience)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(fmt.Errorf("not within %s: %s: %w", patience, what, err), ctx.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
