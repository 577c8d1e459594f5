// SPDX-License-Identifier: Apache-2.0

package shim_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/magpie-edge/magpie/cni/shim"
)

// call runs the client against an agent that answers as told.
func call(t *testing.T, env map[string]string, stdin string, agent func(net.Conn)) (int, string) {
	t.Helper()
	var out bytes.Buffer
	c := shim.Call{
		Getenv: func(k string) string { return env[k] },
		Stdin:  strings.NewReader(stdin),
		Stdout: &out,
		Dial: func() (io.ReadWriteCloser, error) {
			if agent == nil {
				return nil, errors.New("connection refused")
			}
			a, b := net.Pipe()
			go func() { agent(b); _ = b.Close() }()
			return a, nil
		},
	}
	return c.Run(), out.String()
}

func TestCallCarriesEverything(t *testing.T) {
	var got shim.Request
	exit, out := call(t, map[string]string{
		"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": "/n", "CNI_IFNAME": "eth0", "CNI_ARGS": "A=1", "CNI_PATH": "/p",
	}, "not JSON \xff", func(c net.Conn) {
		if err := shim.ReadFrame(c, &got); err != nil {
			t.Error(err)
		}
		if err := shim.WriteFrame(c, &shim.Response{Exit: 1, Stdout: []byte("whatever\n")}); err != nil {
			t.Error(err)
		}
	})
	want := shim.Request{Command: "ADD", ContainerID: "c", NetNS: "/n", IfName: "eth0", Args: "A=1", Path: "/p", Config: []byte("not JSON \xff")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if exit != 1 || out != "whatever\n" {
		t.Errorf("exit %d, %q", exit, out)
	}
}

// TestCallAlwaysPrintsOneDocument: an agent that is away, dies, or talks
// nonsense gives code 11 and one JSON document.
func TestCallAlwaysPrintsOneDocument(t *testing.T) {
	for what, agent := range map[string]func(net.Conn){
		"away":     nil,
		"hangs up": func(net.Conn) {},
		"dies":     func(c net.Conn) { var r shim.Request; _ = shim.ReadFrame(c, &r) },
		"nonsense": func(c net.Conn) {
			var r shim.Request
			_ = shim.ReadFrame(c, &r)
			_, _ = c.Write([]byte{0, 0, 0, 3, 'a', 'b', 'c'})
		},
		"too large": func(c net.Conn) { var r shim.Request; _ = shim.ReadFrame(c, &r); _, _ = c.Write([]byte{255, 0, 0, 0}) },
		"of another version": func(c net.Conn) {
			var r shim.Request
			_ = shim.ReadFrame(c, &r)
			_, _ = c.Write([]byte{0, 0, 0, 2, '{', '}'})
		},
		"half": func(c net.Conn) {
			var r shim.Request
			_ = shim.ReadFrame(c, &r)
			_, _ = c.Write([]byte{0, 0, 0, 9, '{'})
		},
	} {
		exit, out := call(t, map[string]string{"CNI_COMMAND": "DEL"}, "{}", agent)
		var e struct {
			Code int
			Msg  string
		}
		if err := json.Unmarshal([]byte(out), &e); err != nil || exit != 1 || e.Code != 11 || !strings.Contains(e.Msg, "magpie agent") {
			t.Errorf("%s: exit %d, %q (%v)", what, exit, out, err)
		}
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 1, 3})
	f.Add([]byte{0, 0, 0, 10, 1, 3, 65, 68, 68, 0, 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r shim.Request
		if shim.ReadFrame(bytes.NewReader(b), &r) != nil {
			return
		}
		var out bytes.Buffer
		if err := shim.WriteFrame(&out, &r); err != nil {
			t.Fatal(err)
		}
		var again shim.Request
		if err := shim.ReadFrame(&out, &again); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, again); diff != "" {
			t.Fatalf("(-first +second)\n%s", diff)
		}
	})
}
