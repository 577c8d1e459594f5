// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// LogFile is where a process of a machine writes.
func (l *Lab) LogFile(node, process string) string {
	return filepath.Join(l.dir, "logs", node, process+".log")
}

// LogFiles are all logs, as NODE/PROCESS.
func (l *Lab) LogFiles() []string {
	files, _ := filepath.Glob(filepath.Join(l.dir, "logs", "*", "*.log"))
	var out []string
	for _, f := range files {
		rel, err := filepath.Rel(filepath.Join(l.dir, "logs"), f)
		if err == nil {
			out = append(out, strings.TrimSuffix(rel, ".log"))
		}
	}
	return out
}

// Running says whether the lab is up, or was and has not been taken down.
func (l *Lab) Running() bool { return machine.ReadRun(l.dir) != "" }

// Status writes a table of the machines, and the active faults.
func (l *Lab) Status(ctx context.Context, out io.Writer) error {
	if !l.Running() {
		_, err := fmt.Fprintf(out, "lab %s is down; logs and builds are in %s\n", l.opt.Name, l.opt.Cache)
		return err
	}
	nodes, nodesErr := l.Nodes(ctx)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MACHINE\tSITE\tADDRESS\tEIP\tPID\tNODE")
	for _, name := range world.Machines() {
		h, _ := world.FindHost(name)
		pid := "dead"
		if r, ok := machine.ReadRecord(l.dir, name); ok {
			pid = fmt.Sprint(r.PID)
		}
		state := ""
		if i := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == name }); i >= 0 {
			state = "Ready"
			if !nodes[i].Ready {
				state = "NotReady"
			}
		} else if h.Type == "cloud" || h.Type == "edge" {
			state = "not joined"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", name, h.Site, h.IP, h.EIP, pid, state)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	faults, err := l.Faults()
	if err != nil {
		return err
	}
	for _, f := range faults {
		fmt.Fprintln(out, "broken:", f)
	}
	if nodesErr != nil {
		fmt.Fprintln(out, "API server:", nodesErr)
	}
	fmt.Fprintf(out, "kubeconfig: %s\nlogs: %s\n", l.Kubeconfig(), filepath.Join(l.dir, "logs"))
	return nil
}

// Check is `magpiectl connectivity`, whose result is the lab's.
func (l *Lab) Check(ctx context.Context) *exec.Cmd {
	return l.Host(ctx, l.product("magpiectl"), "connectivity", "--outside", world.OutsideIP+":80")
}
