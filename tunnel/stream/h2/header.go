// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2/hpack"
)

// Bounds of what a far end may send as headers of one stream, in bytes.
const (
	headerBlockLimit = 16 << 10
	headerListLimit  = 16 << 10
	headerCountLimit = 64
)

// Header is the fields of a request or an answer, in order. Those whose names
// begin with ":" come first.
type Header []hpack.HeaderField

// Fields makes a Header of names and values in turn.
func Fields(namesAndValues ...string) Header {
	var h Header
	for pair := range slices.Chunk(namesAndValues, 2) {
		h = append(h, hpack.HeaderField{Name: pair[0], Value: pair[1]})
	}
	return h
}

// Get is the value of the field of that name, and whether it is there exactly
// once.
func (h Header) Get(name string) (string, bool) {
	var value string
	var n int
	for _, f := range h {
		if f.Name == name {
			value = f.Value
			n++
		}
	}
	return value, n == 1
}

// encode is stateless: it tells the far end to keep no table, since what we
// send is different each time, and so neither end pays for one.
func (h Header) encode() []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	e.SetMaxDynamicTableSize(0)
	for _, f := range h {
		_ = e.WriteField(f) // a bytes.Buffer takes everything
	}
	return b.Bytes()
}

var errHeader = errors.New("malformed header")

// check refuses what RFC 9113 section 8.2 calls malformed: it is what header
// smuggling is made of.
func (h Header) check() error {
	var plain bool
	for i, f := range h {
		switch {
		case f.IsPseudo():
			if plain || slices.ContainsFunc(h[:i], func(g hpack.HeaderField) bool { return g.Name == f.Name }) {
				return fmt.Errorf("%w: %q is twice or late", errHeader, f.Name)
			}
			if !slices.Contains([]string{":method", ":authority", ":scheme", ":path", ":status", ":protocol"}, f.Name) {
				return fmt.Errorf("%w: unknown %q", errHeader, f.Name)
			}
		case !httpguts.ValidHeaderFieldName(f.Name) || f.Name != lower(f.Name):
			return fmt.Errorf("%w: name %q", errHeader, f.Name)
		case slices.Contains([]string{"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade", "te"}, f.Name):
			return fmt.Errorf("%w: %q has no meaning in HTTP/2", errHeader, f.Name)
		default:
			plain = true
		}
		if !httpguts.ValidHeaderFieldValue(f.Value) {
			return fmt.Errorf("%w: value of %q", errHeader, f.Name)
		}
	}
	return nil
}

func lower(s string) string { return string(bytes.ToLower([]byte(s))) }

// headerReader puts header blocks together and decodes them. Only the goroutine
// that reads the connection uses it.
type headerReader struct {
	decoder *hpack.Decoder
	block   []byte
	id      uint32 // the stream whose block is not complete; 0 is none
	end     bool   // END_STREAM stood at its beginning

	list Header
	size int
	bad  error
}

// add appends a fragment.
func (r *headerReader) add(fragment []byte) error {
	if len(r.block)+len(fragment) > headerBlockLimit {
		return breach(CodeCalm, "headers of more than %d bytes", headerBlockLimit)
	}
	r.block = append(r.block, fragment...)
	return nil
}

// decode returns the fields of the block that is complete. An error from
// decoding ends the connection, because the table is out of step then; bad is
// about this stream alone.
func (r *headerReader) decode() (h Header, bad, err error) {
	if r.decoder == nil {
		r.decoder = hpack.NewDecoder(4096, r.field)
		r.decoder.SetMaxStringLength(headerListLimit)
	}
	r.list, r.size, r.bad = nil, 0, nil
	if _, err := r.decoder.Write(r.block); err != nil {
		return nil, nil, breach(CodeHeaders, "%v", err)
	}
	if err := r.decoder.Close(); err != nil {
		return nil, nil, breach(CodeHeaders, "%v", err)
	}
	r.id, r.block = 0, nil
	h, r.list = r.list, nil
	if r.bad == nil {
		r.bad = h.check()
	}
	return h, r.bad, nil
}

func (r *headerReader) field(f hpack.HeaderField) {
	r.size += int(f.Size())
	if r.size > headerListLimit || len(r.list) == headerCountLimit {
		r.bad = fmt.Errorf("%w: too much of it", errHeader)
		return
	}
	r.list = append(r.list, f)
}
