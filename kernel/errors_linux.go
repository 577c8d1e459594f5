// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrNoNamespace says that a path holds no network namespace any more.
var ErrNoNamespace = errors.New("no such network namespace")

// ErrForeign says that an object which is not ours is where ours should be.
var ErrForeign = errors.New("belongs to somebody else")

// isGone reports whether an error of a removal says that there is nothing to
// remove, which is success.
func isGone(err error) bool {
	gone := []error{unix.ENOENT, unix.ESRCH, unix.ENODEV, unix.ENXIO, unix.EADDRNOTAVAIL, ErrNoNamespace}
	return slices.ContainsFunc(gone, func(e error) bool { return errors.Is(err, e) })
}

func isThere(err error) bool { return errors.Is(err, unix.EEXIST) }

// removed is what a removal returns for the error of its write.
func removed(err error) (int, error) {
	if isGone(err) {
		return 0, nil
	}
	return wrote(err)
}

// wrote is one write, unless it failed.
func wrote(err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// interruptions is how often a dump is read again before the round fails.
const interruptions = 5

// retryInterrupted reads again while somebody else's writes interrupt a dump:
// what such a dump returned is partial, and a partial dump must not be diffed.
func retryInterrupted(ctx context.Context, read func() error) error {
	var err error
	for n := range interruptions {
		if err = read(); !isInterrupted(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(n+1) * time.Millisecond):
		}
	}
	return err
}

func isInterrupted(err error) bool {
	return errors.Is(err, netlink.ErrDumpInterrupted) || errors.Is(err, unix.EINTR)
}
