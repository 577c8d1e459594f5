// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"io"
	"net/http"
)

// The parsers of what strangers send, for tests and fuzzing.
var (
	ParseAuthority = parseAuthority
	ParseName      = parseName
)

// MaxHello bounds what PeekHello reads.
const MaxHello = maxHello

func PeekHello(r io.Reader) (string, []byte, error) { return peekHello(r) }

// Want is what Connect makes of a request.
func (c *Connect) Want(r *http.Request) (Wish, error) {
	w, why := c.wish(r)
	if why != nil {
		return w, why
	}
	return w, nil
}

// Question is what HTTP makes of a request.
func (h *HTTP) Question(r *http.Request) (node string, port uint16, path, query string, err error) {
	q, err := h.read(r)
	return q.node, q.port, q.path, q.query, err
}
