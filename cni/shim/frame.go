// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
)

// Request is one call as the runtime made it, unparsed.
type Request struct {
	Command     string `json:"command"`     // CNI_COMMAND
	ContainerID string `json:"containerID"` // CNI_CONTAINERID
	NetNS       string `json:"netns"`       // CNI_NETNS
	IfName      string `json:"ifName"`      // CNI_IFNAME
	Args        string `json:"args"`        // CNI_ARGS
	Path        string `json:"path"`        // CNI_PATH
	Config      []byte `json:"config"`      // standard input; may be anything
}

// Response is what the runtime is to see.
type Response struct {
	Exit   int    `json:"exit"`   // 0 or 1
	Stdout []byte `json:"stdout"` // a result, an error document, or nothing
}

// frameMax is the largest frame either side reads. A configuration with a
// valid-attachments list of a thousand pods is about 100 kB.
const frameMax = 4 << 20

// WriteFrame sends v in one write.
func WriteFrame(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode frame: %w", err)
	}
	if len(b) > frameMax {
		return fmt.Errorf("frame of %d bytes is larger than %d", len(b), frameMax)
	}
	b = append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(b)), uint32(len(b))), b...)
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// ReadFrame receives into v.
func ReadFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > frameMax {
		return fmt.Errorf("frame of %d bytes is larger than %d", size, frameMax)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return fmt.Errorf("read frame: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("decode frame: %w", err)
	}
	return nil
}
