// SPDX-License-Identifier: Apache-2.0

package h2_test

import (
	"io"
	"net"
	"time"
)

// script is a connection on which everything that the far end says stands
// already, and which takes what we say.
type script struct{ io.Reader }

func (*script) Write(p []byte) (int, error)      { return len(p), nil }
func (*script) Close() error                     { return nil }
func (*script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*script) SetDeadline(time.Time) error      { return nil }
func (*script) SetReadDeadline(time.Time) error  { return nil }
func (*script) SetWriteDeadline(time.Time) error { return nil }
