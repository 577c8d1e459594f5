// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Feature is something that this door needs of the kernel and that a kernel
// may lack.
type Feature string

// The features, by the name of what uses them in a plan.
const (
	FeatureVeth      Feature = "veth"
	FeatureVXLAN     Feature = "vxlan"
	FeatureIFB       Feature = "ifb"
	FeatureTBF       Feature = "tbf"
	FeatureRedirect  Feature = "redirect" // u32 and mirred on ingress
	FeatureNFTables  Feature = "nftables"
	FeatureWireGuard Feature = "wireguard" // in the kernel; user space stands in for it
	FeatureTUN       Feature = "tun"
	FeatureFastPath  Feature = "fast-path" // eBPF with the functions that look up connections
)

// Features lists all features in the order of the constants.
func Features() []Feature {
	return []Feature{
		FeatureVeth, FeatureVXLAN, FeatureIFB, FeatureTBF, FeatureRedirect, FeatureNFTables, FeatureWireGuard, FeatureTUN,
		FeatureFastPath,
	}
}

// since is the kernel that has the feature, if it was built with it.
func (f Feature) since() (major, minor int) {
	switch f {
	case FeatureWireGuard:
		return 5, 6
	case FeatureNFTables:
		return 5, 2 // NAT in the inet family
	case FeatureFastPath:
		return 6, 1
	default:
		return 4, 9
	}
}

// Probe tries the feature in a network namespace made for it; nil says that it
// works. It needs CAP_SYS_ADMIN and leaves nothing behind.
func (f Feature) Probe() error {
	result := make(chan error, 1)
	go func() {
		// Never unlocked: the thread dies with the goroutine, and the
		// namespace with the thread.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- fmt.Errorf("probe %s: new namespace: %w", f, err)
			return
		}
		err := f.try()
		if err != nil {
			err = fmt.Errorf("probe %s: %w", f, err)
		}
		result <- err
	}()
	return <-result
}

func (f Feature) try() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "magprobe"
	switch f {
	case FeatureVeth:
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "magprobe2"})
	case FeatureVXLAN:
		return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 1, Port: 8472})
	case FeatureIFB:
		return netlink.LinkAdd(&netlink.Ifb{LinkAttrs: attrs})
	case FeatureWireGuard:
		return netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	case FeatureTUN:
		f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return f.Close()
	case FeatureTBF, FeatureRedirect:
		return f.tryShape(attrs)
	case FeatureFastPath:
		return tryFastPath(attrs)
	case FeatureNFTables:
		n, err := openNFT("")
		if err != nil {
			return err
		}
		_, err = n.generation()
		return errors.Join(err, n.close())
	default:
		return errors.New("no such feature")
	}
}

func (f Feature) tryShape(attrs netlink.LinkAttrs) error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "magprobe2"}); err != nil {
		return err
	}
	l, err := netlink.LinkByName(attrs.Name)
	if err != nil {
		return err
	}
	index := l.Attrs().Index
	if f == FeatureTBF {
		return netlink.QdiscAdd(bucketOf(index, 1_000_000, 100_000))
	}
	return addRedirect(netlink.QdiscAdd, netlink.FilterAdd, index, index)
}

// Version returns the kernel's major and minor version.
func Version() (major, minor int, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return 0, 0, fmt.Errorf("kernel version: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return 0, 0, fmt.Errorf("kernel version %q: not understood", release)
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, fmt.Errorf("kernel version %q: %w", release, err)
	}
	return major, minor, nil
}

// Need skips a test on a kernel that is too old for the feature, or that may
// be built without it, and fails it where the kernel ought to have it. With
// MAGPIE_TEST_STRICT=1 every skip is a failure.
func Need(tb testing.TB, f Feature) {
	tb.Helper()
	err := f.Probe()
	if err == nil {
		return
	}
	major, minor, verr := Version()
	if verr != nil {
		tb.Fatal(verr)
	}
	m, n := f.since()
	old := major < m || (major == m && minor < n)
	optional := f == FeatureWireGuard || f == FeatureIFB || f == FeatureTUN || f == FeatureFastPath
	if (old || optional) && os.Getenv("MAGPIE_TEST_STRICT") != "1" {
		tb.Skipf("kernel %d.%d: %v", major, minor, err)
	}
	tb.Fatalf("kernel %d.%d: %v", major, minor, err)
}

// Drivers are those that WireGuard has on this kernel, for tests that hold for
// each: user space always, the kernel's where there is one. In the machine of
// test/vm there must be: $MAGPIE_TEST_WIREGUARD says so.
func Drivers(tb testing.TB) []Driver {
	tb.Helper()
	err := FeatureWireGuard.Probe()
	if err == nil {
		return []Driver{DriverKernel, DriverUserspace}
	}
	if os.Getenv("MAGPIE_TEST_WIREGUARD") == string(DriverKernel) {
		tb.Fatal(err)
	}
	return []Driver{DriverUserspace}
}
