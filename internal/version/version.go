// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"runtime/debug"
)

// set is filled by the linker:
//
//	go build -ldflags "-X github.com/magpie-edge/magpie/internal/version.set=v0.1.0"
var set string

// String returns the version of this build: "v0.1.0", "v0.1.0-12-g43c2309" or
// "devel" with the revision where the toolchain recorded one.
func String() string {
	if set != "" {
		return set
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// Long returns the version with the toolchain and platform it was built for,
// in the form that magpiectl version and every -version flag print.
func Long() string {
	return String() + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
