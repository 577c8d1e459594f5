// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package probe

import (
	"context"
	"errors"
	"time"
)

// FullMTU needs the path MTU of a Linux socket; probers are Linux containers.
func FullMTU(context.Context, string, time.Duration) (mtu, passes int, err error) {
	return 0, 0, errors.ErrUnsupported
}
