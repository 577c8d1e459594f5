// SPDX-License-Identifier: Apache-2.0

package stream

import (
	"net"

	"github.com/magpie-edge/magpie/tunnel/stream/h2"
)

// Batch goes between a socket and TLS. TLS writes records of at most 16 KiB,
// each with a system call and often a wake-up of the reader at the other end;
// a connection that finds Batch below its TLS writes a whole frame's records at
// once.
func Batch(conn net.Conn) net.Conn { return h2.NewBatch(conn) }
