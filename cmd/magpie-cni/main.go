// SPDX-License-Identifier: Apache-2.0

// Magpie-cni is the executable that a container runtime starts for every pod.
// It hands the call to the agent and prints what the agent answers.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/magpie-edge/magpie/cni/shim"
)

// socket is where the agent listens. It is api.SocketCNI, spelled out because
// package api links Kubernetes; a test compares them.
const socket = "/run/magpie/cni.sock"

// version is set at build time with -ldflags "-X main.version=…".
var version = "devel"

func main() {
	if len(os.Args) > 1 {
		os.Exit(human(os.Args[1], os.Stdout, os.Stderr))
	}
	path := socket
	if p := os.Getenv("MAGPIE_CNI_SOCKET"); p != "" {
		path = p // tests and the lab have several agents on one machine
	}
	os.Exit(shim.Call{
		Getenv: os.Getenv,
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Dial:   func() (io.ReadWriteCloser, error) { return dial(path) },
	}.Run())
}

// human answers somebody who runs the program by hand.
func human(arg string, out, errs io.Writer) int {
	switch arg {
	case "--version", "-version", "version":
		fmt.Fprintf(out, "magpie-cni %s, CNI %s\n", version, strings.Join(shim.Versions, ", "))
		return 0
	case "--help", "-help", "-h", "help":
		fmt.Fprintf(out, `magpie-cni gives pods their network. A container runtime starts it with
CNI_COMMAND and the like in its environment; there is nothing to do by hand.

It needs the magpie agent on this node, which listens on %s.

  --version   print the version and the CNI versions it speaks

To look at a node's pods: magpiectl status, magpiectl trace.
`, socket)
		return 0
	}
	fmt.Fprintf(errs, "magpie-cni: unknown argument %q; see magpie-cni --help\n", arg)
	return 2
}
