// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/internal/version"
)

// versionReport is what "version -o json" prints.
type versionReport struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func newVersionCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Example: "  magpiectl version\n  magpiectl version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r := versionReport{version.String(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if e.format == formatJSON {
				return printJSON(e, r)
			}
			_, err := fmt.Fprintf(e.out, "magpiectl %s, %s, %s\n", r.Version, r.Go, r.Platform)
			return err
		},
	}
}
