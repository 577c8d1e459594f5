// SPDX-License-Identifier: Apache-2.0

package world

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/test/lab/machine"
)

// verbLine is the hidden verb of the process that is a slow line.
const verbLine = "line"

// Hidden runs what this package or package machine re-executes the lab's
// executable for, and says whether it did. main and TestMain call it first.
func Hidden() bool {
	if len(os.Args) != 3 || os.Args[1] != verbLine {
		return machine.Hidden()
	}
	var l Line
	err := json.Unmarshal([]byte(os.Args[2]), &l)
	if err == nil {
		err = l.run()
	}
	fmt.Fprintln(os.Stderr, "magpie-lab:", err)
	os.Exit(1) //nolint:forbidigo // is main
	return true
}

// Line is a line that takes its time, in user space because the kernel here has
// no netem: packets go in at one TUN device and come out at another. What
// happens to the n-th packet of a direction depends on the seed only.
type Line struct {
	Site   string `json:"site"`
	Delay  int    `json:"delay"`  // milliseconds, each way
	Jitter int    `json:"jitter"` // milliseconds more at most, drawn for each packet: packets overtake each other
	Loss   int    `json:"loss"`   // per mille
	Seed   uint64 `json:"seed"`
}

// Names of its devices, towards the site and towards everybody else.
func (l Line) near() string { return l.Site + ".near" }
func (l Line) far() string  { return l.Site + ".far" }

// draw is the fate of the next packet of one direction.
func (l Line) draw(r *rand.Rand) (delay time.Duration, lost bool) {
	lost = r.IntN(1000) < l.Loss
	extra := time.Duration(r.Int64N(int64(l.Jitter)*int64(time.Millisecond) + 1))
	return time.Duration(l.Delay)*time.Millisecond + extra, lost
}

// run carries packets until it is killed. Its devices and their routes go with
// the process; the rules that lead to them stay, and then lead nowhere.
func (l Line) run() error {
	near, err := openTUN(l.near())
	if err != nil {
		return err
	}
	far, err := openTUN(l.far())
	if err != nil {
		return err
	}
	s, ok := FindSite(l.Site)
	if !ok {
		return fmt.Errorf("no site %q", l.Site)
	}
	script := fmt.Sprintf("ip link set %[1]s up\nip link set %[2]s up\nip route replace default dev %[1]s table %[3]d\nip route replace default dev %[2]s table %[4]d\n",
		l.near(), l.far(), s.tableUp(), s.tableDown())
	cmd := exec.Command("/bin/sh", "-e", "-s") //nolint:noctx // ends at once
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("configure line %s: %s: %w", l.Site, out, err)
	}
	failed := make(chan error)
	go func() { failed <- l.carry(near, far, 0) }()
	go func() { failed <- l.carry(far, near, 1) }()
	return <-failed
}

// openTUN makes a TUN device that lives as long as this process.
func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, fmt.Errorf("make tun device %s: %w", name, err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, fmt.Errorf("make tun device %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// lineQueue is how many packets a line holds before it drops: 100 Mbit/s of
// full packets for half a second.
const lineQueue = 4096

// carry takes packets from one device and puts them into the other when their
// time has come.
func (l Line) carry(from, to *os.File, direction uint64) error {
	in := make(chan packet, lineQueue)
	failed := make(chan error, 1)
	go func() { failed <- l.read(from, in, rand.New(rand.NewPCG(l.Seed, direction))) }()
	var waiting queue
	timer := time.NewTimer(time.Hour)
	for {
		select {
		case err := <-failed:
			return err
		case p := <-in:
			if waiting.Len() < lineQueue {
				heap.Push(&waiting, p)
			}
		case <-timer.C:
		}
		for waiting.Len() > 0 && time.Until(waiting.packets[0].due) <= 0 {
			// A device that is not up yet, or no more, loses packets.
			_, _ = to.Write(heap.Pop(&waiting).(packet).data)
		}
		if waiting.Len() > 0 {
			timer.Reset(time.Until(waiting.packets[0].due))
		}
	}
}

func (l Line) read(from *os.File, in chan<- packet, dice *rand.Rand) error {
	buf := make([]byte, 65536)
	for order := 0; ; order++ {
		n, err := from.Read(buf)
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		delay, lost := l.draw(dice)
		if lost {
			continue
		}
		in <- packet{due: time.Now().Add(delay), order: order, data: append([]byte(nil), buf[:n]...)}
	}
}

// packet is one that waits.
type packet struct {
	due   time.Time
	order int // as it came; equal times keep it
	data  []byte
}

// queue is a heap of packets, the next one first.
type queue struct{ packets []packet }

func (q *queue) Len() int      { return len(q.packets) }
func (q *queue) Swap(i, j int) { q.packets[i], q.packets[j] = q.packets[j], q.packets[i] }
func (q *queue) Push(x any)    { q.packets = append(q.packets, x.(packet)) }

func (q *queue) Less(i, j int) bool {
	a, b := q.packets[i], q.packets[j]
	if c := a.due.Compare(b.due); c != 0 {
		return c < 0
	}
	return a.order < b.order
}

func (q *queue) Pop() any {
	last := len(q.packets) - 1
	p := q.packets[last]
	q.packets = q.packets[:last]
	return p
}
