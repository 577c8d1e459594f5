// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/magpie-edge/magpie/internal/walk"
)

// compare needs a node's kernel, and nodes are Linux.
func compare(context.Context, walk.Part) ([]planStep, []string, error) {
	return nil, nil, errors.New("comparing with the kernel works on a Linux node; name a node with --node, or a file with --from")
}
