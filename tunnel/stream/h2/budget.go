// SPDX-License-Identifier: Apache-2.0

package h2

import "sync"

// Bounds of a stream's window, in bytes.
const (
	smallestStart = 4 << 10
	largestStart  = 256 << 10
	largestWindow = 16 << 20
)

// Budget bounds the bytes that streams of one far end may have received and not
// read. One half of it pays the windows that streams start with, the other is
// lent to streams that are fast. It may be shared by connections.
type Budget struct {
	start int32

	mu   sync.Mutex
	free int64 // of the half that is lent
}

// NewBudget returns a budget of that many bytes for that many streams.
func NewBudget(bytes int64, streams int) *Budget {
	start := bytes / 2 / int64(max(streams, 1))
	return &Budget{start: int32(min(max(start, smallestStart), largestStart)), free: bytes / 2}
}

// borrow lends n bytes if that leaves as much: so the first streams get large
// windows, and there is always some for the next one.
func (b *Budget) borrow(n int32) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if int64(n) > b.free/2 {
		return false
	}
	b.free -= int64(n)
	return true
}

func (b *Budget) repay(n int32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += int64(n)
}
