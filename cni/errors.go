// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/magpie-edge/magpie/cni/shim"
)

// Error is what a runtime gets instead of a result.
// Source: CNI specification 1.1.0, section "Error".
type Error struct {
	CNIVersion string `json:"cniVersion"`
	Code       uint   `json:"code"`
	Msg        string `json:"msg"`               // a sentence that a person can act on
	Details    string `json:"details,omitempty"` // the cause, in the words of whoever said so
}

func (e *Error) Error() string {
	if e.Details == "" {
		return e.Msg
	}
	return e.Msg + ": " + e.Details
}

func refuse(code uint, format string, args ...any) *Error {
	return &Error{Code: code, Msg: fmt.Sprintf(format, args...)}
}

func (e *Error) because(err error) *Error {
	e.Details = err.Error()
	return e
}

// response renders what a verb returned. version is the one that the runtime
// speaks, or "" if it was not even understood.
func response(version string, result json.RawMessage, err error) shim.Response {
	if err == nil {
		return shim.Response{Stdout: append(result, '\n')}
	}
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = refuse(types.ErrInternal, "the magpie agent cannot do this; see its log").because(err)
	}
	out := *e
	out.CNIVersion = version
	if version == "" {
		out.CNIVersion = newest()
	}
	b, jerr := json.Marshal(out)
	if jerr != nil {
		b = fmt.Appendf(nil, `{"cniVersion":%q,"code":%d,"msg":%q}`, out.CNIVersion, out.Code, out.Msg)
	}
	return shim.Response{Exit: 1, Stdout: append(b, '\n')}
}

func newest() string { return shim.Versions[len(shim.Versions)-1] }
