// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync"
	"syscall"

	"github.com/magpie-edge/magpie/plan"
)

// Fault is a way in which a kernel refuses.
type Fault string

// The faults that tests inject.
const (
	// DumpInterrupted: somebody else wrote while the kernel listed, for longer
	// than the door is ready to read again.
	DumpInterrupted Fault = "dump-interrupted"
	// Exists: another's object is where ours should be.
	Exists Fault = "exists"
	// NoDevice: the device went away between looking and writing.
	NoDevice Fault = "no-device"
	// NetworkDown: the device is down.
	NetworkDown Fault = "network-down"
	// NoBuffers: the kernel has no memory for the message.
	NoBuffers Fault = "no-buffers"
)

// errno is what the kernel would say.
func (f Fault) errno() error {
	switch f {
	case DumpInterrupted:
		return syscall.EINTR
	case Exists:
		return syscall.EEXIST
	case NoDevice:
		return syscall.ENODEV
	case NetworkDown:
		return syscall.ENETDOWN
	case NoBuffers:
		return syscall.ENOBUFS
	default:
		return nil
	}
}

// Faults decides which calls of a Fake fail. The zero value lets all pass.
// Safe for concurrent use.
type Faults struct {
	mu       sync.Mutex
	onRead   func(call int) Fault
	onWrite  func(call int, s plan.Step) Fault
	reads    int
	writes   int
	injected int
}

// OnObserve asks decide at each Observe, calls counted from 0. "" lets it pass.
func (f *Faults) OnObserve(decide func(call int) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onRead, f.reads = decide, 0
}

// OnWrite asks decide before each write, calls counted from 0. "" lets it pass.
func (f *Faults) OnWrite(decide func(call int, s plan.Step) Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.onWrite, f.writes = decide, 0
}

// Injected is how many calls have failed so far.
func (f *Faults) Injected() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.injected
}

func (f *Faults) observe() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onRead == nil {
		return nil
	}
	f.reads++
	return f.count(f.onRead(f.reads - 1))
}

func (f *Faults) write(s plan.Step) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onWrite == nil {
		return nil
	}
	f.writes++
	return f.count(f.onWrite(f.writes-1, s))
}

func (f *Faults) count(fault Fault) error {
	err := fault.errno()
	if err != nil {
		f.injected++
	}
	return err
}
