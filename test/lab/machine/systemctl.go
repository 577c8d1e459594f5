// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Systemctl is the command of that name inside a machine. It understands what
// install and join scripts use.
func Systemctl(args []string) int {
	now := false
	var pos []string
	for _, a := range args {
		switch {
		case a == "--now":
			now = true
		case strings.HasPrefix(a, "-"):
			// --quiet, --no-block, --no-pager, --system ...: nothing to do differently
		default:
			pos = append(pos, a)
		}
	}
	if len(pos) == 0 {
		return 0
	}
	verb, units := pos[0], pos[1:]
	switch verb {
	case "daemon-reload", "daemon-reexec", "reset-failed", "mask", "unmask", "is-system-running":
		return 0 // unit files are read afresh at each start
	}
	quiet := false
	for _, a := range args {
		quiet = quiet || a == "-q" || a == "--quiet"
	}
	verbs := []string{verb}
	if now && verb == "enable" {
		verbs = append(verbs, "start")
	}
	if now && verb == "disable" {
		verbs = append(verbs, "stop")
	}
	code := 0
	for _, v := range verbs {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		rep, err := call(ctx, socketPath, request{Verb: v, Units: units})
		cancel()
		if err != nil {
			fmt.Fprintln(os.Stderr, "systemctl:", err)
			return 1
		}
		if !quiet {
			fmt.Fprint(os.Stdout, rep.Text)
		}
		code = max(code, rep.Code)
	}
	return code
}

func killGroup(pid int) error {
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill process group %d: %w", pid, err)
	}
	return nil
}
