// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/tunnel"
)

// snapshotNodes is how many files are written without being asked twice: each
// holds the whole fleet.
const snapshotNodes = 100

// snapshotReport is what "snapshot -o json" prints.
type snapshotReport struct {
	Dir   string         `json:"dir"`
	Files []snapshotFile `json:"files"`
}

// snapshotFile is one written View.
type snapshotFile struct {
	Node string `json:"node"`
	Path string `json:"path"`
}

func newSnapshotCommand(e *env) *cobra.Command {
	var dir string
	var nodes []string
	cmd := &cobra.Command{
		Use:   "snapshot",
		Short: "Write what each node knows of the fleet to files",
		Long: `snapshot writes one fleet.json a node, from the Kubernetes API. Such a file is
all a planner looks at: "magpiectl plan --from" and "magpiectl trace --from" work
from it on any machine, without the cluster. It holds names, addresses and public
keys, no secrets.

The device and MTU of a node's underlay are known to the node only: the file says
"underlay" and 1500. The node's own is /var/lib/magpie/fleet.json.`,
		Example: `  magpiectl snapshot --dir ./snapshot
  magpiectl snapshot --node a-1 && magpiectl plan --from magpie-snapshot/a-1.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := e.views(cmd.Context(), "")
			if err != nil {
				return err
			}
			return snapshot(e, all, dir, nodes)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "magpie-snapshot", "folder to write to; made if it is not there")
	cmd.Flags().StringSliceVar(&nodes, "node", nil, "nodes to write, comma-separated (default: all)")
	return cmd
}

func snapshot(e *env, all []fleet.View, dir string, nodes []string) error {
	switch {
	case len(all) == 0:
		return errors.New("there is no node in any domain: see magpiectl status")
	case len(nodes) == 0 && len(all) > snapshotNodes:
		return fmt.Errorf("%d nodes are %d files that each hold the whole fleet: name those you need with --node", len(all), len(all))
	}
	if len(nodes) == 0 {
		for _, v := range all {
			nodes = append(nodes, v.Self.Node)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	r := snapshotReport{Dir: dir, Files: []snapshotFile{}}
	for _, node := range nodes {
		v, err := viewOf(all, node)
		if err != nil {
			return err
		}
		v.Links, _ = tunnel.Choose(v)
		b, err := fleet.Marshal(v)
		if err != nil {
			return err
		}
		path := filepath.Join(dir, node+".json")
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return fmt.Errorf("write snapshot: %w", err)
		}
		r.Files = append(r.Files, snapshotFile{Node: node, Path: path})
	}
	if e.format == formatJSON {
		return printJSON(e, r)
	}
	_, err := fmt.Fprintf(e.out, "wrote %d files to %s\n", len(r.Files), dir)
	return err
}
