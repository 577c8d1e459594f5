// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"context"
	"net"
)

// AskConnect lets tests speak to a proxy that is not there.
func AskConnect(ctx context.Context, c net.Conn, addr string) (net.Conn, error) {
	return askConnect(ctx, c, addr, nil)
}

// ReadConnect lets tests read a neighbour's request.
var ReadConnect = readConnect
