// SPDX-License-Identifier: Apache-2.0

package h2

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// short frames go before others.
	short = 4 << 10
	// shortRun is how many short frames in a row may overtake a long one.
	shortRun = 16
	// controlLimit is how many bytes of control frames may wait. A far end that
	// makes us answer and does not read the answers is cut there.
	controlLimit = 1 << 20

	// A write of a frame shall take this long: less, and the cost of a frame
	// shows; more, and others wait.
	tooQuick = time.Millisecond
	tooSlow  = 4 * time.Millisecond

	quantumStart = 64 << 10
	quantumMin   = 16 << 10
	quantumMax   = 256 << 10
)

// turn is the right to write to a connection: one writer at a time, short
// frames first. There is no goroutine behind it.
type turn struct {
	nc    net.Conn
	batch *Batch // below nc, if there is one
	now   func() time.Time
	fail  func(error) // ends the connection

	// quantum is the largest frame that does not keep others waiting.
	quantum atomic.Int32
	// since is when the write that goes on began, in Unix nanoseconds; 0 when
	// none does.
	since atomic.Int64

	mu      sync.Mutex
	busy    bool
	err     error
	queue   [2][]chan struct{} // who waits with short and with long frames
	run     int                // short frames since the last long one
	control []byte             // frames that wait for whoever writes next
	spare   []byte             // the buffer that control had before
}

// post appends control frames, which go out as soon as the connection is free.
// It never waits.
func (t *turn) post(add func([]byte) []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.control = add(t.control)
	if len(t.control) > controlLimit {
		t.err = breach(CodeCalm, "it does not read what it asked for")
		go t.fail(t.err)
		return
	}
	if !t.busy {
		t.busy = true
		go t.flush()
	}
}

// flush writes what is posted, with the turn already taken.
func (t *turn) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pass()
}

// write writes one frame when it is its turn.
func (t *turn) write(b []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy {
		t.wait(len(b))
	}
	t.busy = true
	control := t.takeControl()
	if t.err == nil {
		t.put(control, b)
	}
	t.pass()
	return t.err
}

// wait returns when the turn was handed over.
func (t *turn) wait(length int) {
	class := 1
	if length <= short {
		class = 0
	}
	mine := make(chan struct{})
	t.queue[class] = append(t.queue[class], mine)
	t.mu.Unlock()
	<-mine
	t.mu.Lock()
}

func (t *turn) takeControl() []byte {
	control := t.control
	t.control, t.spare = t.spare[:0], nil
	return control
}

// put writes without the lock. The buffer of control frames is used again
// unless it has become large.
func (t *turn) put(control, b []byte) {
	t.mu.Unlock()
	var err error
	switch {
	case len(control) == 0:
		err = t.send(b)
	case len(b) <= short:
		control = append(control, b...)
		err = t.send(control)
	default:
		if err = t.send(control); err == nil {
			err = t.send(b)
		}
	}
	t.mu.Lock()
	if cap(control) <= short {
		t.spare = control[:0]
	}
	if err != nil && t.err == nil {
		t.err = err
		go t.fail(err)
	}
}

// send writes to the connection and judges how long that took.
func (t *turn) send(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	start := t.now()
	t.since.Store(start.UnixNano())
	err := t.out(b)
	took := t.now().Sub(start)
	t.since.Store(0)
	q := t.quantum.Load()
	switch {
	case took > tooSlow && len(b) > int(q)/2:
		t.quantum.Store(max(q/2, quantumMin))
	case took < tooQuick && len(b) >= int(q):
		t.quantum.Store(min(q*2, quantumMax))
	}
	return err
}

// out writes to the connection, the records of a long frame at once.
func (t *turn) out(b []byte) error {
	if t.batch == nil || len(b) <= minFrame {
		_, err := t.nc.Write(b)
		return err
	}
	t.batch.hold()
	_, err := t.nc.Write(b)
	return errors.Join(err, t.batch.release())
}

// pass gives the turn away, called by who has it: to what is posted, then to
// the next in the queue.
func (t *turn) pass() {
	for len(t.control) > 0 && t.err == nil && len(t.queue[0])+len(t.queue[1]) == 0 {
		t.put(t.takeControl(), nil)
	}
	class := 0
	if len(t.queue[0]) == 0 || t.run >= shortRun && len(t.queue[1]) > 0 {
		class = 1
	}
	if len(t.queue[class]) == 0 {
		t.busy = false
		return
	}
	t.run = (t.run + 1) * (1 - class)
	next := t.queue[class][0]
	t.queue[class] = t.queue[class][1:]
	if len(t.queue[class]) == 0 {
		t.queue[class] = nil // an idle connection keeps nothing
	}
	close(next)
}

// stop makes every writer return that error. The connection is closed already,
// so none is in a write for long.
func (t *turn) stop(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	t.control, t.spare = nil, nil
}
