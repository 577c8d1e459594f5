// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"encoding/json"
	"fmt"
	"io"
)

// Versions of the CNI specification that ADD and DEL serve, oldest first.
var Versions = []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} //nolint:gochecknoglobals // a constant that Go cannot express

// Error codes that the executable itself returns.
// Source: CNI specification 1.1.0, section "Error".
const (
	codeEnvironment = 4
	codeIO          = 5
	codeDecode      = 6
	codeTryLater    = 11
)

// Call is one run of the executable.
type Call struct {
	Getenv func(string) string
	Stdin  io.Reader
	Stdout io.Writer
	// Dial connects to the agent. Reads and writes of the connection must end
	// after some time: nothing here does.
	Dial func() (io.ReadWriteCloser, error)
}

// Run does the call and returns the exit code.
func (c Call) Run() int {
	req := Request{
		Command:     c.Getenv("CNI_COMMAND"),
		ContainerID: c.Getenv("CNI_CONTAINERID"),
		NetNS:       c.Getenv("CNI_NETNS"),
		IfName:      c.Getenv("CNI_IFNAME"),
		Args:        c.Getenv("CNI_ARGS"),
		Path:        c.Getenv("CNI_PATH"),
	}
	if req.Command == "" {
		return c.fail(codeEnvironment, "CNI_COMMAND is not set: this program is started by a container runtime", "")
	}
	config, err := io.ReadAll(io.LimitReader(c.Stdin, frameMax/2))
	if err != nil {
		return c.fail(codeIO, "standard input, where the runtime passes the configuration, cannot be read", err.Error())
	}
	if req.Command == "VERSION" {
		return c.version(config)
	}
	req.Config = config
	resp, err := c.exchange(req)
	if err != nil {
		return c.fail(codeTryLater, "the magpie agent on this node is not running or not ready; see "+
			"`kubectl -n kube-system get pods -l app=magpie-agent -o wide`, and its log", err.Error())
	}
	if _, err := c.Stdout.Write(resp.Stdout); err != nil {
		return 1
	}
	return resp.Exit
}

func (c Call) exchange(req Request) (Response, error) {
	conn, err := c.Dial()
	if err != nil {
		return Response{}, err
	}
	defer func() { _ = conn.Close() }()
	if err := WriteFrame(conn, &req); err != nil {
		return Response{}, err
	}
	var resp Response
	return resp, ReadFrame(conn, &resp)
}

// version answers in the version of the request, as the specification asks.
func (c Call) version(config []byte) int {
	asked := struct {
		CNIVersion string `json:"cniVersion"`
	}{}
	if len(config) > 0 {
		if err := json.Unmarshal(config, &asked); err != nil {
			return c.fail(codeDecode, "the configuration on standard input is not JSON", err.Error())
		}
	}
	if asked.CNIVersion == "" {
		asked.CNIVersion = Versions[len(Versions)-1]
	}
	return c.print(0, struct {
		CNIVersion string   `json:"cniVersion"`
		Supported  []string `json:"supportedVersions"`
	}{asked.CNIVersion, Versions})
}

func (c Call) fail(code int, msg, details string) int {
	return c.print(1, struct {
		CNIVersion string `json:"cniVersion"`
		Code       int    `json:"code"`
		Msg        string `json:"msg"`
		Details    string `json:"details,omitempty"`
	}{Versions[len(Versions)-1], code, msg, details})
}

func (c Call) print(exit int, v any) int {
	b, err := json.Marshal(v)
	if err != nil {
		return 1
	}
	if _, err := fmt.Fprintf(c.Stdout, "%s\n", b); err != nil {
		return 1
	}
	return exit
}
