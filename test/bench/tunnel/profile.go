// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"fmt"
	"os"
	"runtime/pprof"
	"time"
)

// profileEnv names a folder for CPU profiles of gateways and agents: for whoever
// asks why a figure is what it is.
const profileEnv = "MAGPIE_BENCH_PROFILE"

// profileTime is how long a profile takes; the roles are killed at their end.
const profileTime = 15 * time.Second

// profile writes a CPU profile of this process if the file has a name.
func profile(file string) error {
	if file == "" {
		return nil
	}
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write profile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	time.AfterFunc(profileTime, func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	})
	return nil
}
