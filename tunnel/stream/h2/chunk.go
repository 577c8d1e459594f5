// SPDX-License-Identifier: Apache-2.0

package h2

import "sync"

// chunkSizes are the sizes of buffers for received bytes. The largest is small
// enough to stay in a CPU's cache on its way.
var chunkSizes = [...]int{1 << 10, 4 << 10, 16 << 10, 64 << 10}

var chunkPools [len(chunkSizes)]sync.Pool

// chunk is received bytes that wait for their reader: b[r:].
type chunk struct {
	b     []byte
	r     int
	class int
}

// newChunk returns an empty chunk with room for up to n bytes.
func newChunk(n int) *chunk {
	class := 0
	for class < len(chunkSizes)-1 && chunkSizes[class] < n {
		class++
	}
	if c, ok := chunkPools[class].Get().(*chunk); ok {
		return c
	}
	return &chunk{b: make([]byte, 0, chunkSizes[class]), class: class}
}

func (c *chunk) free() {
	c.b, c.r = c.b[:0], 0
	chunkPools[c.class].Put(c)
}

// queue is the chunks of one stream. The first may be with its reader.
type queue struct {
	chunks []*chunk
	held   bool // the reader has the first one, outside of the lock
}

// add takes c over. Small pieces join the last chunk, so that many of them do
// not cost many times their size.
func (q *queue) add(c *chunk) {
	if n := len(q.chunks); n > 1 || n == 1 && !q.held {
		last := q.chunks[n-1]
		if len(c.b) <= cap(last.b)-len(last.b) && len(c.b) <= chunkSizes[0] {
			last.b = append(last.b, c.b...)
			c.free()
			return
		}
	}
	q.chunks = append(q.chunks, c)
}

func (q *queue) first() *chunk {
	if len(q.chunks) == 0 {
		return nil
	}
	return q.chunks[0]
}

// drop frees the first chunk.
func (q *queue) drop() {
	q.chunks[0].free()
	q.chunks[0] = nil
	q.chunks = q.chunks[1:]
	if len(q.chunks) == 0 {
		q.chunks = nil
	}
}

// clear frees all but what the reader has, which frees that itself.
func (q *queue) clear() {
	for i, c := range q.chunks {
		if i > 0 || !q.held {
			c.free()
		}
	}
	q.chunks = nil
}
