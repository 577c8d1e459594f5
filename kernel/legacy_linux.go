// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// getInfo is IPT_SO_GET_INFO and IP6T_SO_GET_INFO.
const getInfo = 64

// ipTableInfo is struct ipt_getinfo: what the older iptables says of a table.
type ipTableInfo struct {
	name       [32]byte
	validHooks uint32
	hookEntry  [5]uint32
	underflow  [5]uint32
	entries    uint32
	size       uint32
}

// tableInfo returns the bytes of struct ipt_getinfo for table filter; none if
// the kernel has no such table.
func tableInfo(family, level int) ([]byte, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("raw socket: %w", err)
	}
	defer unix.Close(fd)
	var info ipTableInfo
	copy(info.name[:], "filter")
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), getInfo,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errors.Is(errno, unix.ENOENT) || errors.Is(errno, unix.ENOPROTOOPT) {
		return nil, nil
	}
	if errno != 0 {
		return nil, fmt.Errorf("size of iptables filter: %w", errno)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&info)), size), nil
}
