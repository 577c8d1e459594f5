// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/walk"
)

// readView loads a fleet.json: a node's own, a snapshot's or a customer's.
func readView(path string) (fleet.View, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return fleet.View{}, fmt.Errorf("read view: %w", err)
	}
	v, err := fleet.Unmarshal(b)
	if err != nil {
		return fleet.View{}, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// views returns the View of every node: from a file if one is named, else from
// the API. What a file says of its own node is as that node knows it; the
// others are as far as they can be known from outside.
func (e *env) views(ctx context.Context, path string) ([]fleet.View, error) {
	if path != "" {
		v, err := readView(path)
		if err != nil {
			return nil, err
		}
		return walk.Views(v, underlayMTU), nil
	}
	k, d, err := e.clients()
	if err != nil {
		return nil, err
	}
	f, err := gather(ctx, k, d)
	if err != nil {
		return nil, err
	}
	v, left, err := f.view(e)
	if err != nil {
		return nil, err
	}
	for _, text := range left {
		e.progress("left out: %s", text)
	}
	return walk.Views(v, underlayMTU), nil
}

// viewOf picks the View of one node.
func viewOf(all []fleet.View, node string) (fleet.View, error) {
	for _, v := range all {
		if v.Self.Node == node {
			return v, nil
		}
	}
	return fleet.View{}, fmt.Errorf("node %s is in no domain: see magpiectl status", node)
}
