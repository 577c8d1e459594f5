// SPDX-License-Identifier: Apache-2.0

package cni_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cni"
)

// raw runs magpie-cni as a runtime would, with any environment and input.
func (n *node) raw(env map[string]string, stdin string) (exit int, stdout string) {
	n.t.Helper()
	cmd := exec.CommandContext(n.t.Context(), filepath.Join(n.bin(), cni.Program))
	cmd.Env = []string{"MAGPIE_CNI_SOCKET=" + n.sock}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if errs.Len() > 0 {
		n.t.Errorf("wrote to stderr: %s", errs.String())
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

const goodConfig = `{"cniVersion":"1.1.0","name":"magpie","type":"magpie-cni"}`

// TestKernelBadInput: the right code, a sentence, and nothing left behind.
func TestKernelBadInput(t *testing.T) {
	n := newNode(t)
	taken := n.added(mapping("tcp", 8080, 80, ""))
	before := n.snapshot()
	pods := len(n.server.Pods())
	ns := newNS(t, "pod")
	for _, c := range []struct {
		what   string
		set    map[string]string // over a good ADD; "-" removes
		stdin  string
		code   int
		speaks string // part of the message
	}{
		{what: "no command", set: map[string]string{"CNI_COMMAND": "-"}, code: 4, speaks: "CNI_COMMAND is not set"},
		{what: "unknown command", set: map[string]string{"CNI_COMMAND": "MUL"}, code: 4, speaks: "none of ADD"},
		{what: "no container", set: map[string]string{"CNI_CONTAINERID": "-"}, code: 4, speaks: "CNI_CONTAINERID is not set"},
		{what: "long container id", set: map[string]string{"CNI_CONTAINERID": strings.Repeat("a", 300)}, code: 4, speaks: "300 bytes"},
		{what: "odd container id", set: map[string]string{"CNI_CONTAINERID": "../../etc"}, code: 4, speaks: "letters, digits"},
		{what: "no interface", set: map[string]string{"CNI_IFNAME": "-"}, code: 4, speaks: "CNI_IFNAME is not set"},
		{what: "long interface", set: map[string]string{"CNI_IFNAME": "abcdefghijklmnop"}, code: 4, speaks: "15 bytes"},
		{what: "interface lo", set: map[string]string{"CNI_IFNAME": "lo"}, code: 4, speaks: "not a name"},
		{what: "interface with slash", set: map[string]string{"CNI_IFNAME": "a/b"}, code: 4, speaks: "not a name"},
		{what: "no namespace", set: map[string]string{"CNI_NETNS": "-"}, code: 4, speaks: "CNI_NETNS is not set"},
		{what: "relative namespace", set: map[string]string{"CNI_NETNS": "run/netns/x"}, code: 4, speaks: "absolute"},
		{what: "namespace gone", set: map[string]string{"CNI_NETNS": "/run/netns/none"}, code: 3, speaks: "the container is gone"},
		{what: "namespace is a file", set: map[string]string{"CNI_NETNS": "/etc/hostname"}, code: 3, speaks: "no network namespace"},
		{what: "the host's namespace", set: map[string]string{"CNI_NETNS": n.ns}, code: 5, speaks: "cannot be entered"},
		{what: "interface exists", set: map[string]string{"CNI_NETNS": taken.rt.NetNS}, code: 4, speaks: "exists already"},
		{what: "second ADD", set: map[string]string{"CNI_CONTAINERID": taken.rt.ContainerID, "CNI_NETNS": taken.rt.NetNS}, code: 4, speaks: "must call DEL"},
		{what: "not JSON", stdin: "hello", code: 6, speaks: "cannot be read"},
		{what: "empty", stdin: " ", code: 6, speaks: "cannot be read"},
		{what: "wrong type", stdin: `{"cniVersion":"1.1.0","name":7}`, code: 6, speaks: "cannot be read"},
		{what: "unknown version", stdin: `{"cniVersion":"9.9.9","name":"magpie"}`, code: 1, speaks: "0.3.1, 0.4.0, 1.0.0, 1.1.0"},
		{what: "no version", stdin: `{"name":"magpie"}`, code: 1, speaks: "not supported"},
		{what: "no name", stdin: `{"cniVersion":"1.1.0"}`, code: 7, speaks: "no name"},
		{what: "odd name", stdin: `{"cniVersion":"1.1.0","name":"a b"}`, code: 7, speaks: "network name"},
		{what: "foreign ipam", stdin: config(`"ipam":{"type":"host-local"}`), code: 2, speaks: "host-local"},
		{what: "not the first plugin", stdin: config(`"prevResult":{"cniVersion":"1.1.0"}`), code: 7, speaks: "first plugin"},
		{what: "protocol", stdin: runtimeConfig(`"portMappings":[{"hostPort":80,"containerPort":80,"protocol":"icmp"}]`), code: 2, speaks: "icmp"},
		{what: "port", stdin: runtimeConfig(`"portMappings":[{"hostPort":70000,"containerPort":80}]`), code: 7, speaks: "70000"},
		{what: "host IP", stdin: runtimeConfig(`"portMappings":[{"hostPort":80,"containerPort":80,"hostIP":"x"}]`), code: 7, speaks: "hostIP"},
		{what: "loopback v6", stdin: runtimeConfig(`"portMappings":[{"hostPort":80,"containerPort":80,"hostIP":"::1"}]`), code: 7, speaks: "127.0.0.1"},
		{what: "port twice", stdin: runtimeConfig(`"portMappings":[{"hostPort":81,"containerPort":80},{"hostPort":81,"containerPort":81}]`), code: 7, speaks: "twice"},
		{what: "port taken", stdin: runtimeConfig(`"portMappings":[{"hostPort":8080,"containerPort":80}]`), code: 11, speaks: "until that is deleted"},
		{what: "MAC", stdin: runtimeConfig(`"mac":"01:00:5e:00:00:01"`), code: 7, speaks: "unicast"},
		{what: "address of another node", stdin: runtimeConfig(`"ips":["10.42.9.9"]`), code: 7, speaks: "10.42.3.0/24"},
		{what: "network address", stdin: runtimeConfig(`"ips":["10.42.3.0/24"]`), code: 7, speaks: "can give"},
		{what: "no address", stdin: runtimeConfig(`"ips":["x"]`), code: 7, speaks: "not an address"},
		{what: "address taken", stdin: runtimeConfig(`"ips":["` + taken.ip4.String() + `"]`), code: 11, speaks: "in use"},
		{what: "range elsewhere", stdin: runtimeConfig(`"ipRanges":[[{"subnet":"10.9.0.0/16"}]]`), code: 7, speaks: "ipRanges"},
		{what: "CHECK too old", set: map[string]string{"CNI_COMMAND": "CHECK"}, stdin: `{"cniVersion":"0.3.1","name":"magpie"}`, code: 1, speaks: "0.4.0"},
		{what: "GC too old", set: map[string]string{"CNI_COMMAND": "GC"}, stdin: `{"cniVersion":"1.0.0","name":"magpie"}`, code: 1, speaks: "1.1.0"},
		{what: "GC without list", set: map[string]string{"CNI_COMMAND": "GC"}, code: 7, speaks: "valid-attachments"},
		{what: "CHECK unknown", set: map[string]string{"CNI_COMMAND": "CHECK"}, code: 3, speaks: "no ADD is on record"},
		{what: "CHECK without prevResult", set: map[string]string{"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": taken.rt.ContainerID, "CNI_NETNS": taken.rt.NetNS}, code: 7, speaks: "prevResult"},
		{
			what: "CHECK with another's prevResult", set: map[string]string{"CNI_COMMAND": "CHECK", "CNI_CONTAINERID": taken.rt.ContainerID, "CNI_NETNS": taken.rt.NetNS},
			stdin: config(`"prevResult":{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"` + taken.rt.NetNS + `"}],"ips":[{"address":"10.42.3.9/32","interface":0}]}`),
			code:  7, speaks: "does not fit",
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			n.t = t
			env := map[string]string{
				"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "bad", "CNI_NETNS": ns, "CNI_IFNAME": "eth0", "CNI_PATH": "/opt/cni/bin",
			}
			for k, v := range c.set {
				env[k] = v
				if v == "-" {
					delete(env, k)
				}
			}
			if c.stdin == "" {
				c.stdin = goodConfig
			}
			exit, out := n.raw(env, c.stdin)
			var e struct {
				CNIVersion string
				Code       int
				Msg        string
			}
			if err := json.Unmarshal([]byte(out), &e); err != nil {
				t.Fatalf("output %q: %v", out, err)
			}
			if exit != 1 || e.Code != c.code || !strings.Contains(e.Msg, c.speaks) || e.CNIVersion == "" {
				t.Errorf("exit %d, %s; want code %d and %q", exit, out, c.code, c.speaks)
			}
		})
	}
	n.t = t
	if diff := cmp.Diff(before, n.snapshot()); diff != "" {
		t.Errorf("leaked (-before +after)\n%s", diff)
	}
	if left := run(t, "ip", "-n", name(ns), "-br", "link"); strings.Contains(left, "eth0") {
		t.Errorf("left in the pod: %s", left)
	}
	if got := len(n.server.Pods()); got != pods {
		t.Errorf("ledger holds %d pods, want %d", got, pods)
	}
}

func config(more string) string {
	return fmt.Sprintf(`{"cniVersion":"1.1.0","name":"magpie","type":"magpie-cni",%s}`, more)
}

func runtimeConfig(what string) string { return config(`"runtimeConfig":{` + what + `}`) }

func TestKernelDelIsForgiving(t *testing.T) {
	n := newNode(t)
	for what, c := range map[string]struct {
		netns, stdin string
	}{
		"unknown":        {"/run/netns/none", goodConfig},
		"no namespace":   {"", goodConfig},
		"foreign ipam":   {"", config(`"ipam":{"type":"host-local"}`)},
		"bad prevResult": {"", config(`"prevResult":{"cniVersion":"0.1.0","x":1}`)},
		"old version":    {"", `{"cniVersion":"0.3.1","name":"magpie"}`},
	} {
		exit, out := n.raw(map[string]string{"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0", "CNI_NETNS": c.netns}, c.stdin)
		if exit != 0 || strings.TrimSpace(out) != "" {
			t.Errorf("%s: exit %d, %q", what, exit, out)
		}
	}
}

func TestKernelStatus(t *testing.T) {
	n := newNode(t, "10.42.3.0/29")
	status := func(code int, speaks string) {
		t.Helper()
		_, out := n.raw(map[string]string{"CNI_COMMAND": "STATUS"}, goodConfig)
		var e struct {
			Code int
			Msg  string
		}
		if strings.TrimSpace(out) != "" {
			if err := json.Unmarshal([]byte(out), &e); err != nil {
				t.Fatalf("output %q: %v", out, err)
			}
		}
		if e.Code != code || !strings.Contains(e.Msg, speaks) {
			t.Errorf("STATUS says %q, want code %d and %q", out, code, speaks)
		}
	}
	status(0, "")
	n.mu.Lock()
	n.ready = false
	n.mu.Unlock()
	status(50, "not heard of this node")
	if _, err := n.sandbox("1.1.0", nil).add(); isCode(err, 11) != nil {
		t.Errorf("ADD without a view: %v", err)
	}
	n.mu.Lock()
	n.ready = true
	n.mu.Unlock()
	for range 5 {
		n.added(nil)
	}
	status(50, "no address is left")
	if _, err := n.sandbox("1.1.0", nil).add(); isCode(err, 11) != nil || !strings.Contains(err.Error(), "no address is left") {
		t.Errorf("ADD on a full node: %v", err)
	}
}

// TestVersionWithoutAgent: VERSION works with nobody there, everything else
// says who is missing, with a code that makes the runtime try again.
func TestVersionWithoutAgent(t *testing.T) {
	n := &node{t: t, sock: filepath.Join(t.TempDir(), "none.sock")}
	exit, out := n.raw(map[string]string{"CNI_COMMAND": "VERSION"}, `{"cniVersion":"0.4.0"}`)
	if want := `{"cniVersion":"0.4.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}`; exit != 0 || strings.TrimSpace(out) != want {
		t.Errorf("VERSION: exit %d, %s", exit, out)
	}
	for _, verb := range []string{"ADD", "DEL", "CHECK", "STATUS", "GC"} {
		exit, out := n.raw(map[string]string{"CNI_COMMAND": verb}, goodConfig)
		if exit != 1 || !strings.Contains(out, `"code":11`) || !strings.Contains(out, "app=magpie-agent") {
			t.Errorf("%s: exit %d, %s", verb, exit, out)
		}
	}
}
