// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// Output runs a program in a folder, "" being the current one, and returns what
// it prints. What it says on standard error is in the error.
func Output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}
