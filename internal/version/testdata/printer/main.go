// SPDX-License-Identifier: Apache-2.0

// Printer prints the version it was linked with; version_test.go builds it.
package main

import "github.com/magpie-edge/magpie/internal/version"

func main() { print(version.String()) }
