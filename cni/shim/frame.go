// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Request is one call as the runtime made it, unparsed.
type Request struct {
	Command     string // CNI_COMMAND
	ContainerID string // CNI_CONTAINERID
	NetNS       string // CNI_NETNS
	IfName      string // CNI_IFNAME
	Args        string // CNI_ARGS
	Path        string // CNI_PATH
	Config      []byte // standard input; may be anything
}

// Response is what the runtime is to see.
type Response struct {
	Exit   int    // 0 or 1
	Stdout []byte // a result, an error document, or nothing
}

// frameMax is the largest frame either side reads. A configuration with a
// valid-attachments list of a thousand pods is about 100 kB.
const frameMax = 4 << 20

// format is the first byte of a frame. Of an executable and an agent that do
// not have the same, neither understands the other, and the call is repeated:
// both come from one image, so that is over in a moment.
const format = 1

// message is a Request or a Response.
type message interface {
	// encode appends it to b.
	encode(b []byte) []byte
	// decode takes all of b, and keeps parts of it.
	decode(b []byte) error
}

// WriteFrame sends v in one write.
func WriteFrame(w io.Writer, v message) error {
	const head = 4
	b := v.encode(append(make([]byte, head, 1<<10), format))
	size := len(b) - head
	if size > frameMax {
		return fmt.Errorf("frame of %d bytes is larger than %d", size, frameMax)
	}
	binary.BigEndian.PutUint32(b, uint32(size))
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// ReadFrame receives into v.
func ReadFrame(r io.Reader, v message) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > frameMax {
		return fmt.Errorf("frame of %d bytes, not 1 to %d", size, frameMax)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if b[0] != format {
		return fmt.Errorf("frame of format %d, not %d: executable and agent are of different versions", b[0], format)
	}
	if err := v.decode(b[1:]); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}

func (r *Request) texts() []*string {
	return []*string{&r.Command, &r.ContainerID, &r.NetNS, &r.IfName, &r.Args, &r.Path}
}

func (r *Request) encode(b []byte) []byte {
	for _, text := range r.texts() {
		b = append(binary.AppendUvarint(b, uint64(len(*text))), *text...)
	}
	return append(b, r.Config...)
}

func (r *Request) decode(b []byte) error {
	for _, text := range r.texts() {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return errCut
		}
		end := n + int(size)
		*text, b = string(b[n:end]), b[end:]
	}
	r.Config = b
	return nil
}

func (r *Response) encode(b []byte) []byte {
	return append(append(b, byte(r.Exit)), r.Stdout...)
}

func (r *Response) decode(b []byte) error {
	if len(b) == 0 {
		return errCut
	}
	r.Exit, r.Stdout = int(b[0]), b[1:]
	return nil
}

var errCut = errors.New("it is cut short")
