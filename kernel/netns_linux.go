// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// conn is a way into one network namespace. Its sockets stay there whatever
// thread uses them, so no caller has to lock a thread.
type conn struct {
	*netlink.Handle
	path string // as plans call it; "" is the host
	fd   int    // of the namespace; -1: the one this process is in
	// raw has strict checking on: the kernel filters dumps for us, and says no
	// instead of sending everything.
	raw map[int]*nl.SocketHandle
}

// file is where a namespace is that plans call ns.
func (h *Host) file(ns string) string {
	if ns == "" {
		return h.home
	}
	return ns
}

// dial opens a namespace by its path. ErrNoNamespace says that it is gone.
func (h *Host) dial(path string) (*conn, error) {
	c := &conn{path: path, fd: -1}
	if file := h.file(path); file != "" {
		fd, err := openNS(file)
		if err != nil {
			return nil, err
		}
		c.fd = fd
	}
	handle, err := netlink.NewHandleAt(netns.NsHandle(c.fd), unix.NETLINK_ROUTE)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("netlink socket in %q: %w", path, err)
	}
	c.Handle = handle
	return c, nil
}

func (c *conn) close() {
	if c.Handle != nil {
		c.Close()
	}
	for _, s := range c.raw {
		s.Close()
	}
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
}

// strict returns the sockets for requests built by hand.
func (c *conn) strict() (map[int]*nl.SocketHandle, error) {
	if c.raw != nil {
		return c.raw, nil
	}
	s, err := nl.GetNetlinkSocketAt(netns.NsHandle(c.fd), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket in %q: %w", c.path, err)
	}
	for _, option := range []int{unix.NETLINK_GET_STRICT_CHK, unix.NETLINK_EXT_ACK} {
		if err := unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, option, 1); err != nil {
			s.Close()
			return nil, fmt.Errorf("netlink socket option %d: %w", option, err)
		}
	}
	c.raw = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
	return c.raw, nil
}

// request starts a message built by hand.
func (c *conn) request(kind, flags int) (*nl.NetlinkRequest, error) {
	sockets, err := c.strict()
	if err != nil {
		return nil, err
	}
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = sockets
	return r, nil
}

// openNS opens a network namespace file. What is no namespace any more (a
// mount point left after the mount has gone) is as good as absent.
func openNS(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ESRCH):
		return -1, fmt.Errorf("%s: %w", path, ErrNoNamespace)
	case err != nil:
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return -1, fmt.Errorf("%s: %w", path, ErrNoNamespace)
	}
	return fd, nil
}

// inNS calls f on a thread inside the namespace; "" is the one we are in. For
// what has no handle of its own: files below /proc/sys/net follow the thread.
func inNS(path string, f func() error) error {
	if path == "" {
		return f()
	}
	fd, err := openNS(path)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open own namespace: %w", err)
	}
	defer unix.Close(home)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", path, err)
	}
	err = f()
	if back := unix.Setns(home, unix.CLONE_NEWNET); back != nil {
		// The thread stays locked and dies with the goroutine: better than a
		// thread in a pod's namespace that runs anything else.
		return errors.Join(err, fmt.Errorf("leave %s: %w", path, back))
	}
	runtime.UnlockOSThread()
	return err
}
