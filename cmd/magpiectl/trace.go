// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/internal/walk"
)

// traceReport is what "trace -o json" prints.
type traceReport struct {
	// OK is true if the packet arrives, or leaves the cluster as it should,
	// and so does the answer.
	OK  bool     `json:"ok"`
	Src traceEnd `json:"src"`
	Dst traceEnd `json:"dst"`
	// Forward is the packet's way, Back the answer's; Back is null if the
	// packet does not arrive at a node of the fleet.
	Forward walk.Result  `json:"forward"`
	Back    *walk.Result `json:"back"`
}

// traceFlags are what a person can choose.
type traceFlags struct {
	proto string
	port  uint16
	v6    bool
	from  string
}

func newTraceCommand(e *env) *cobra.Command {
	var f traceFlags
	cmd := &cobra.Command{
		Use:   "trace SRC DST",
		Short: "Explain each hop of a packet, and why",
		Long: `trace walks a packet through what the nodes on its way should have: routes,
neighbours, tunnels, firewall rules. It says each hop with the object or rule that
decides, and walks the answer, too. SRC is a pod (namespace/name), a node or a
pod's address; DST is one of these or any address.

It reads what should be. Whether it is so, "magpiectl plan" tells on a node;
whether packets get through, "magpiectl connectivity".`,
		Example: `  magpiectl trace default/web-0 default/db-0 --port 5432
  magpiectl trace a-2 10.42.5.6
  magpiectl trace --from fleet.json 10.42.4.5 198.51.100.7 --proto udp --port 53`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return trace(cmd.Context(), e, f, args[0], args[1])
		},
	}
	cmd.Flags().StringVar(&f.proto, "proto", "tcp", "tcp, udp or icmp")
	cmd.Flags().Uint16Var(&f.port, "port", 80, "destination port")
	cmd.Flags().BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 where both ends have both families")
	cmd.Flags().StringVar(&f.from, "from", "", "fleet.json to use instead of the API; then SRC and DST are nodes or addresses")
	return cmd
}

func trace(ctx context.Context, e *env, f traceFlags, src, dst string) error {
	switch f.proto {
	case "tcp", "udp":
	case "icmp":
		f.port = 0
	default:
		return fmt.Errorf("--proto %q: want tcp, udp or icmp", f.proto)
	}
	views, err := e.views(ctx, f.from)
	if err != nil {
		return err
	}
	find := finder{env: e, views: views, offline: f.from != ""}
	a, err := find.end(ctx, src)
	if err != nil {
		return err
	}
	b, err := find.end(ctx, dst)
	if err != nil {
		return err
	}
	r, err := walkBoth(views, a, b, f)
	if err != nil {
		return err
	}
	if e.format == formatJSON {
		err = printJSON(e, r)
	} else {
		_, err = fmt.Fprint(e.out, traceText(r, e.colour))
	}
	if err == nil && !r.OK {
		err = errNo
	}
	return err
}

func walkBoth(views []fleet.View, a, b traceEnd, f traceFlags) (traceReport, error) {
	r := traceReport{Src: a, Dst: b}
	if a.Node == "" {
		return r, fmt.Errorf("%s is not in the cluster: a trace starts at a pod or a node", a.Name)
	}
	src, dst, err := common(a, b, f.v6)
	if err != nil {
		return r, err
	}
	w := walk.New(views)
	if a.Host {
		if src, err = w.Source(a.Node, dst); err != nil {
			return r, err
		}
	}
	if r.Forward, err = w.Walk(a.Node, walk.Packet{Src: src, Dst: dst, Proto: f.proto, Port: f.port}); err != nil {
		return r, err
	}
	last := r.Forward.Nodes[len(r.Forward.Nodes)-1]
	switch {
	case r.Forward.Verdict == walk.Dropped:
		return r, nil
	case b.Host && b.Node != "" && last != b.Node:
		// Two sites may use the same address: what arrives is not what was meant.
		r.Forward.Verdict = walk.Dropped
		r.Forward.Reason = "addresses of nodes are not carried between domains: it does not reach node " + b.Node +
			"; use a pod's address, or the O&M tunnel"
		return r, nil
	case r.Forward.Verdict == walk.Leaves:
		r.OK = true
		return r, nil
	}
	back, err := w.Walk(last, walk.Packet{Src: dst, Dst: src, Proto: f.proto, Port: f.port})
	if err != nil {
		return r, err
	}
	r.Back, r.OK = &back, back.Verdict == walk.Delivered
	return r, nil
}

// traceText lays the report out for people, in 80 columns.
func traceText(r traceReport, colour bool) string {
	var b strings.Builder
	p := r.Forward.Packet
	fmt.Fprintf(&b, "%s\n  -> %s\n%s", r.Src, r.Dst, p.Proto)
	if p.Port != 0 {
		fmt.Fprintf(&b, " port %d", p.Port)
	}
	b.WriteString("\n\n")
	writeHops(&b, r.Forward)
	writeVerdict(&b, r.Forward, colour)
	if r.Back != nil {
		b.WriteString("\nthe answer\n\n")
		writeHops(&b, *r.Back)
		writeVerdict(&b, *r.Back, colour)
	}
	return b.String()
}

func writeHops(b *strings.Builder, r walk.Result) {
	for i, h := range r.Hops {
		node := h.Node
		if i > 0 && r.Hops[i-1].Node == node {
			node = ""
		}
		for j, line := range page.Wrap(h.Text, page.Width-26) {
			if j > 0 {
				node, h.What = "", ""
			}
			fmt.Fprintf(b, "%-14s %-10s %s\n", page.Cut(node, 14), h.What, line)
		}
		for _, line := range page.Wrap(h.Why, page.Width-28) {
			fmt.Fprintf(b, "%27s %s\n", "", line)
		}
	}
}

func writeVerdict(b *strings.Builder, r walk.Result, colour bool) {
	text := fmt.Sprintf("%s by %s", r.Verdict, r.Kind)
	if r.Verdict != walk.Delivered {
		text = string(r.Verdict)
	}
	if r.Relay != "" {
		text += ", relayed by " + r.Relay
	}
	if r.MTU > 0 && r.Verdict == walk.Delivered {
		text += fmt.Sprintf(", packets up to %d bytes", r.MTU)
	}
	text += ": " + r.Reason
	for i, line := range page.Wrap(text, page.Width-2) {
		if i > 0 {
			line = "  " + line
		}
		if r.Verdict == walk.Dropped {
			line = (&page.Page{Colour: colour}).Paint(page.Red, line)
		}
		b.WriteString(line + "\n")
	}
}

// errOffline explains why a name cannot be looked up.
var errOffline = errors.New("with --from, SRC and DST are nodes or addresses: a file holds no pods")
