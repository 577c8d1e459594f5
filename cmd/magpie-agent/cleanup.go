// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/magpie-edge/magpie/api"
	"github.com/magpie-edge/magpie/cni"
	"github.com/magpie-edge/magpie/hub/client"
	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/plan"
	"github.com/magpie-edge/magpie/topology"
	"github.com/magpie-edge/magpie/tunnel/mesh"
	"github.com/magpie-edge/magpie/vxlan"
)

// owners are all marks under which this process writes to the kernel.
func owners() []plan.Owner {
	return []plan.Owner{cni.Owner, mesh.Owner, vxlan.Owner, client.Owner, topology.Owner}
}

// cleanup removes what run has made: the conflist first, so that no pod starts
// on a network that is going away. What is on disk below StateDir stays; it
// holds the key that peers know, and `magpiectl leave` removes it.
func cleanup(ctx context.Context, c Config, _ string, log *slog.Logger) error {
	a := agent{config: c}
	errs := []error{a.installer().Remove(), removeHubFiles(filepath.Join(c.StateDir, filepath.Base(api.DirHub)))}
	host, err := kernel.Open(kernel.Options{Log: log})
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer host.Close()
	for _, owner := range owners() {
		world := host.Own(owner)
		have, err := world.Observe(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("look for what %s owns: %w", owner.Name, err))
			continue
		}
		steps, err := world.Apply(ctx, have, plan.Plan{})
		log.Info("removed", "loop", owner.Name, "steps", steps)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
