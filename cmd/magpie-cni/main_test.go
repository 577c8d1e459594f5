// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/magpie-edge/magpie/api"
)

func TestSocket(t *testing.T) {
	if socket != api.SocketCNI {
		t.Errorf("socket %s, want api.SocketCNI %s", socket, api.SocketCNI)
	}
}

func TestHuman(t *testing.T) {
	for arg, want := range map[string]struct {
		exit int
		word string
	}{"--version": {0, "CNI 0.3.1, 0.4.0, 1.0.0, 1.1.0"}, "--help": {0, "nothing to do by hand"}, "--nope": {2, "unknown argument"}} {
		var out bytes.Buffer
		if exit := human(arg, &out, &out); exit != want.exit || !strings.Contains(out.String(), want.word) {
			t.Errorf("%s: exit %d, %q", arg, exit, out.String())
		}
	}
}
