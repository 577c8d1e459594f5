// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/magpie-edge/magpie/cni/shim"
)

// Limits on names. Runtimes use container ids of 64 characters, and make file
// names of them: 255 bytes with the network's and the interface's name.
const (
	containerIDMax = 200
	ifNameMax      = 15 // IFNAMSIZ without the final NUL
)

// nameForm is what the specification allows in container ids and network names.
var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`) //nolint:gochecknoglobals // compiled once

// verb says what a CNI command needs and from which version on it exists.
type verb struct {
	since     string // of shim.Versions
	container bool   // needs CNI_CONTAINERID and CNI_IFNAME
	netns     bool   // needs CNI_NETNS
}

//nolint:gochecknoglobals // a constant that Go cannot express
var verbs = map[string]verb{
	"ADD":    {since: "0.3.1", container: true, netns: true},
	"DEL":    {since: "0.3.1", container: true},
	"CHECK":  {since: "0.4.0", container: true, netns: true},
	"STATUS": {since: "1.1.0"},
	"GC":     {since: "1.1.0"},
}

// request is a call whose form is right.
type request struct {
	verb   string
	key    Key
	netns  string
	args   map[string]string // CNI_ARGS
	config netConfig
}

// parse checks the form of a call. The request it returns has the version set
// as soon as that is known, so that an error can be told in it.
func parse(call shim.Request) (request, *Error) {
	r := request{
		verb: call.Command, key: Key{call.ContainerID, call.IfName}, netns: call.NetNS,
		args: parseArgs(call.Args),
	}
	v, known := verbs[call.Command]
	if !known {
		return r, refuse(types.ErrInvalidEnvironmentVariables,
			"CNI_COMMAND %q is none of ADD, DEL, CHECK, STATUS, GC, VERSION", call.Command)
	}
	if err := r.environment(v); err != nil {
		return r, err
	}
	if err := json.Unmarshal(call.Config, &r.config); err != nil {
		return r, refuse(types.ErrDecodingFailure,
			"the network configuration that the runtime passed cannot be read; look at the conflist in its CNI configuration directory").because(err)
	}
	return r, r.checkConfig(v)
}

// environment checks CNI_CONTAINERID, CNI_IFNAME and CNI_NETNS.
func (r *request) environment(v verb) *Error {
	bad := func(format string, args ...any) *Error {
		return refuse(types.ErrInvalidEnvironmentVariables, format, args...)
	}
	if !v.container {
		return nil
	}
	switch id := r.key.Container; {
	case id == "":
		return bad("CNI_CONTAINERID is not set; the runtime must name the container")
	case len(id) > containerIDMax:
		return bad("CNI_CONTAINERID is %d bytes long; at most %d are allowed", len(id), containerIDMax)
	case !nameForm.MatchString(id):
		return bad("CNI_CONTAINERID %q must begin with a letter or digit and hold only letters, digits, '_', '.' and '-'", id)
	}
	switch name := r.key.IfName; {
	case name == "":
		return bad("CNI_IFNAME is not set; the runtime must name the interface")
	case len(name) > ifNameMax:
		return bad("CNI_IFNAME %q is longer than the %d bytes that Linux allows", name, ifNameMax)
	case name == "." || name == ".." || name == "lo" || strings.ContainsFunc(name, notInIfName):
		return bad("CNI_IFNAME %q is not a name for a new interface", name)
	}
	switch {
	case v.netns && r.netns == "":
		return bad("CNI_NETNS is not set; the runtime must pass the path of the pod's network namespace")
	case r.netns != "" && !strings.HasPrefix(r.netns, "/"):
		return bad("CNI_NETNS %q is not an absolute path", r.netns)
	}
	return nil
}

func notInIfName(c rune) bool {
	return c == '/' || c == ':' || unicode.IsSpace(c) || !unicode.IsPrint(c)
}

func (r *request) checkConfig(v verb) *Error {
	asked := r.config.CNIVersion
	if !slices.Contains(shim.Versions, asked) {
		r.config.CNIVersion = "" // do not answer in a version we do not speak
		return refuse(types.ErrIncompatibleCNIVersion,
			"cniVersion %q is not supported; set one of %s in the conflist", asked, strings.Join(shim.Versions, ", "))
	}
	if slices.Index(shim.Versions, asked) < slices.Index(shim.Versions, v.since) {
		return refuse(types.ErrIncompatibleCNIVersion,
			"%s exists since CNI %s and the conflist says cniVersion %s", r.verb, v.since, asked)
	}
	switch name := r.config.Name; {
	case name == "":
		return refuse(types.ErrInvalidNetworkConfig, "the network configuration has no name; set one in the conflist")
	case !nameForm.MatchString(name):
		return refuse(types.ErrInvalidNetworkConfig, "the network name %q must hold only letters, digits, '_', '.' and '-'", name)
	}
	if t := r.config.IPAM.Type; t != "" && t != "magpie" && r.verb != "DEL" {
		return refuse(types.ErrUnsupportedField, "ipam.type %q is not supported: addresses come from the node's pod CIDR; remove ipam", t)
	}
	return nil
}

// parseArgs reads CNI_ARGS: "A=1;B=2". What has no "=" is left out.
func parseArgs(s string) map[string]string {
	args := map[string]string{}
	for pair := range strings.SplitSeq(s, ";") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			args[k] = v
		}
	}
	return args
}
