// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"encoding/binary"
	"fmt"
)

// preface is what an opener sends first. Source: RFC 9113 section 3.4.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Sizes of the protocol. Source: RFC 9113 sections 4.1, 4.2, 6.5.2, 6.9.1.
const (
	headLen      = 9
	minFrame     = 16 << 10
	maxFrame     = 1<<24 - 1
	firstWindow  = 1<<16 - 1
	largeWindow  = 1<<31 - 1
	settingLen   = 6
	pingLen      = 8
	priorityLen  = 5
	goAwayMinLen = 8
)

// kind is a frame's type.
type kind byte

// Source: RFC 9113 section 6.
const (
	kindData kind = iota
	kindHeaders
	kindPriority
	kindReset
	kindSettings
	kindPush
	kindPing
	kindGoAway
	kindWindow
	kindContinuation
)

// Flags of frames; the same bit means different things in different kinds.
const (
	flagEnd        = 0x1 // DATA, HEADERS: the sender's last frame of the stream
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings. Source: RFC 9113 section 6.5.2.
const (
	settingPush    = 0x2
	settingStreams = 0x3
	settingWindow  = 0x4
	settingFrame   = 0x5
	settingHeaders = 0x6
)

// Code is why a stream or a connection ended. Source: RFC 9113 section 7.
type Code uint32

// The codes that are sent or looked for.
const (
	CodeNone     Code = 0x0
	CodeProtocol Code = 0x1
	CodeInternal Code = 0x2
	CodeFlow     Code = 0x3
	CodeClosed   Code = 0x5
	CodeSize     Code = 0x6
	CodeRefused  Code = 0x7
	CodeCancel   Code = 0x8
	CodeHeaders  Code = 0x9
	CodeCalm     Code = 0xb
)

// frame is the head of one.
type frame struct {
	length int
	kind   kind
	flags  byte
	id     uint32
}

func (f frame) has(flag byte) bool { return f.flags&flag != 0 }

func parseFrame(b *[headLen]byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   kind(b[3]),
		flags:  b[4],
		id:     binary.BigEndian.Uint32(b[5:]) & (1<<31 - 1),
	}
}

// put writes the head of a frame to the first bytes of b.
func (f frame) put(b []byte) {
	b[0], b[1], b[2] = byte(f.length>>16), byte(f.length>>8), byte(f.length)
	b[3], b[4] = byte(f.kind), f.flags
	binary.BigEndian.PutUint32(b[5:], f.id)
}

// appendFrame appends a whole frame.
func appendFrame(b []byte, k kind, flags byte, id uint32, payload ...byte) []byte {
	var head [headLen]byte
	frame{length: len(payload), kind: k, flags: flags, id: id}.put(head[:])
	return append(append(b, head[:]...), payload...)
}

func appendNumber(b []byte, k kind, id, number uint32) []byte {
	return appendFrame(b, k, 0, id, binary.BigEndian.AppendUint32(nil, number)...)
}

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}

// fault is a breach of the protocol that ends the connection.
type fault struct {
	code Code
	text string
}

func (f *fault) Error() string { return "protocol breach by the far end: " + f.text }

func breach(code Code, format string, args ...any) error {
	return &fault{code: code, text: fmt.Sprintf(format, args...)}
}

// ResetError is the error of a stream that one end cut.
type ResetError struct {
	Code Code
	Far  bool // the far end cut it
}

// Is makes a stream that the far end did not take equal to ErrNotNow: it has
// done nothing, so it may be opened elsewhere.
func (e *ResetError) Is(target error) bool {
	return target == ErrNotNow && e.Far && e.Code == CodeRefused
}

// Error says who cut the stream.
func (e *ResetError) Error() string {
	who := "this end"
	if e.Far {
		who = "the far end"
	}
	return fmt.Sprintf("stream reset by %s (code %d)", who, e.Code)
}
