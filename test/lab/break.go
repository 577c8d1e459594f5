// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/magpie-edge/magpie/test/lab/machine"
	"github.com/magpie-edge/magpie/test/lab/world"
)

// BreakHelp lists what can be broken, for --help.
const BreakHelp = `  cut SITE                   the internet line carries nothing
  loss SITE PERCENT          packets are lost at random, both ways
  rate SITE MBIT             the line is that slow
  delay SITE MS [MS [PERCENT]]  the line takes so long, each way; jitter; loss
  shrink-mtu SITE BYTES      smaller MTU, announced by ICMP
  black-hole SITE BYTES      larger packets vanish silently
  block-udp SITE             the site's firewall drops UDP
  api-only NODE              the site's router lets this node out to the API server only; neighbours still reach it
  rebind-nat SITE            the NAT forgets its mappings and uses other ports
  private-line up|down       routes over the private line plant - VPC
  kill-gateway NODE          kill the node's agent (it is started again)
  freeze-gateway NODE        stop the node's agent without ending it
  stop-apiserver             stop kube-apiserver
  start-apiserver            start it again
  reboot NODE                power-cycle a machine
  del-object NODE WORDS...   run "ip WORDS... del"-like: link NAME, route ..., neigh ..., rule ..., addr ..., table FAMILY NAME

SITE is vpc, shop-a, shop-b or plant; NODE is a machine, see "magpie-lab status".`

// Break breaks something and returns a sentence that says what it did and how
// to undo it.
func (l *Lab) Break(ctx context.Context, words ...string) (string, error) {
	if len(words) == 0 {
		return "", errors.New("break what? See `magpie-lab break --help`")
	}
	unlock, err := l.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	if words[0] == "private-line" && slices.Equal(words[1:], []string{"down"}) {
		return "the private line has no routes; undo: magpie-lab break private-line up", l.healWorld(ctx, "private-line")
	}
	if text, ok := world.Kinds()[words[0]]; ok {
		f, err := parseWorldFault(words)
		if err != nil {
			return "", err
		}
		if err := l.addWorldFault(ctx, f); err != nil {
			return "", err
		}
		return fmt.Sprintf("%s: %s; undo: magpie-lab heal", f, text), nil
	}
	return l.breakNode(ctx, words)
}

// nodeFaults are the faults of one machine.
var nodeFaults = []string{"kill-gateway", "freeze-gateway", "reboot", "del-object"}

func (l *Lab) breakNode(ctx context.Context, words []string) (string, error) {
	switch words[0] {
	case "stop-apiserver":
		return "kube-apiserver is stopped; undo: magpie-lab break start-apiserver, or heal", l.setAPI(ctx, false)
	case "start-apiserver":
		return "kube-apiserver runs", l.setAPI(ctx, true)
	}
	if !slices.Contains(nodeFaults, words[0]) {
		return "", fmt.Errorf("no fault %q: see `magpie-lab break --help`", words[0])
	}
	if len(words) < 2 {
		return "", fmt.Errorf("%s wants a node: one of %s", words[0], strings.Join(world.Machines(), ", "))
	}
	node := words[1]
	if !slices.Contains(world.Machines(), node) {
		return "", fmt.Errorf("no machine %q: one of %s", node, strings.Join(world.Machines(), ", "))
	}
	switch words[0] {
	case "kill-gateway":
		return fmt.Sprintf("magpie-agent on %s was killed; kubelet starts it again by itself", node), l.signalAgent(ctx, node, "KILL")
	case "freeze-gateway":
		if err := l.signalAgent(ctx, node, "STOP"); err != nil {
			return "", err
		}
		st, err := l.readFaults()
		if err != nil {
			return "", err
		}
		if !slices.Contains(st.Frozen, node) {
			st.Frozen = append(st.Frozen, node)
		}
		return fmt.Sprintf("magpie-agent on %s is frozen, the node stays Ready; undo: magpie-lab heal", node), l.writeFaults(st)
	case "reboot":
		return fmt.Sprintf("%s was power-cycled; it comes back by itself", node), l.Reboot(ctx, node)
	default: // del-object
		return l.deleteObject(ctx, node, words[2:])
	}
}

// deleteObject removes something that the product made, and leaves it to the
// product to make it again.
func (l *Lab) deleteObject(ctx context.Context, node string, words []string) (string, error) {
	if len(words) < 2 {
		return "", errors.New("del-object NODE wants an object: link NAME, route ..., neigh ..., rule ..., addr ..., table FAMILY NAME")
	}
	argv := append([]string{"ip", words[0], "del"}, words[1:]...)
	switch words[0] {
	case "table":
		argv = append([]string{"nft", "delete", "table"}, words[1:]...)
	case "fdb":
		argv = append([]string{"bridge", "fdb", "del"}, words[1:]...)
	case "-6":
		argv = append([]string{"ip", "-6", words[1], "del"}, words[2:]...)
	}
	if _, err := l.Exec(ctx, node, argv...); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %s; nothing to undo, the product should bring it back", node, strings.Join(argv, " ")), nil
}

// signalAgent signals the magpie-agent processes of a node. They are found in
// the node's own pid namespace, where no other node's are.
func (l *Lab) signalAgent(ctx context.Context, node, signal string) error {
	_, err := l.Exec(ctx, node, "/bin/sh", "-c",
		`n=0; for p in /proc/[0-9]*; do if [ "$(cat $p/comm 2>/dev/null)" = magpie-agent ]; then kill -`+signal+
			` ${p#/proc/}; n=1; fi; done; [ $n = 1 ] || { echo "no magpie-agent runs here" >&2; exit 1; }`)
	return err
}

func (l *Lab) setAPI(ctx context.Context, up bool) error {
	verb := "stop"
	if up {
		verb = "start"
	}
	if _, err := l.Exec(ctx, world.ControlPlane, "systemctl", verb, "kube-apiserver"); err != nil {
		return err
	}
	st, err := l.readFaults()
	if err != nil {
		return err
	}
	st.API = !up
	return l.writeFaults(st)
}

// Reboot power-cycles a machine: it loses its processes, mounts and devices,
// keeps its disk, and starts what is enabled.
func (l *Lab) Reboot(ctx context.Context, node string) error {
	if err := machine.Kill(l.dir, node); err != nil {
		return err
	}
	if err := machine.Start(ctx, l.exe(), l.spec(node, machine.ReadRun(l.dir))); err != nil {
		return err
	}
	if err := world.Wire(ctx, l.dir); err != nil {
		return err
	}
	if err := l.applyFaults(ctx); err != nil {
		return err
	}
	return machine.Boot(ctx, l.dir, node)
}

// Heal undoes every fault. With kinds, only world faults of these kinds.
func (l *Lab) Heal(ctx context.Context, kinds ...string) error {
	unlock, err := l.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if len(kinds) > 0 {
		return l.healWorld(ctx, kinds...)
	}
	st, err := l.readFaults()
	if err != nil {
		return err
	}
	errs := []error{world.ApplyFaults(ctx, l.dir, nil)}
	if st.API {
		_, err := l.Exec(ctx, world.ControlPlane, "systemctl", "start", "kube-apiserver")
		errs = append(errs, err)
	}
	for _, n := range st.Frozen {
		errs = append(errs, l.signalAgent(ctx, n, "CONT"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("heal: %w", err)
	}
	return l.writeFaults(faultState{})
}

func (l *Lab) healWorld(ctx context.Context, kinds ...string) error {
	st, err := l.readFaults()
	if err != nil {
		return err
	}
	st.World = slices.DeleteFunc(st.World, func(f world.Fault) bool { return slices.Contains(kinds, f.Kind) })
	if err := world.ApplyFaults(ctx, l.dir, st.World); err != nil {
		return err
	}
	return l.writeFaults(st)
}
