// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/magpie-edge/magpie/test/lab/world"
)

// faultState is what is broken now, kept in the lab's folder. World faults are
// rendered from it; the others are undone one by one.
type faultState struct {
	World     []world.Fault `json:"world"`
	API       bool          `json:"api"`    // the API server was stopped
	Frozen    []string      `json:"frozen"` // nodes whose gateway is frozen
	Suspended []string      `json:"suspended,omitempty"`
}

func (l *Lab) faultFile() string { return filepath.Join(l.dir, "faults.json") }

func (l *Lab) readFaults() (faultState, error) {
	var st faultState
	b, err := os.ReadFile(l.faultFile())
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err != nil {
		return st, fmt.Errorf("read faults: %w", err)
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("decode faults: %w", err)
	}
	return st, nil
}

func (l *Lab) writeFaults(st faultState) error {
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("encode faults: %w", err)
	}
	return write(l.faultFile(), string(b), 0o644)
}

// Faults are the active faults, as the words after `magpie-lab break`.
func (l *Lab) Faults() ([]string, error) {
	st, err := l.readFaults()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range st.World {
		out = append(out, f.String())
	}
	if st.API {
		out = append(out, "stop-apiserver")
	}
	for _, n := range st.Frozen {
		out = append(out, "freeze-gateway "+n)
	}
	return out, nil
}

// applyFaults renders the world's faults again, after machines were started.
func (l *Lab) applyFaults(ctx context.Context) error {
	st, err := l.readFaults()
	if err != nil {
		return err
	}
	return world.ApplyFaults(ctx, l.dir, st.World)
}

// parseWorldFault reads the words of a fault between machines.
func parseWorldFault(words []string) (world.Fault, error) {
	f := world.Fault{Kind: words[0]}
	if f.Kind == "private-line" {
		return f, nil
	}
	if f.Kind == "api-only" {
		return parseNodeFault(words)
	}
	if len(words) < 2 {
		return f, fmt.Errorf("%s which site? vpc, shop-a, shop-b or plant", f.Kind)
	}
	if _, ok := world.FindSite(words[1]); !ok {
		return f, fmt.Errorf("no site %q: vpc, shop-a, shop-b or plant", words[1])
	}
	f.Site = words[1]
	switch f.Kind {
	case "cut", "block-udp", "rebind-nat":
		return f, nil
	}
	if len(words) < 3 {
		return f, fmt.Errorf("%s %s by how much?", f.Kind, f.Site)
	}
	v, err := strconv.ParseFloat(strings.TrimRight(words[2], "%bitBIT/smMkKgG"), 64)
	if err != nil {
		return f, fmt.Errorf("%s: %q is not a number", f.Kind, words[2])
	}
	f.Value = int(v)
	if f.Kind == "delay" {
		err := parseDelay(&f, words[3:])
		return f, err
	}
	switch {
	case f.Kind == "loss" && (v <= 0 || v > 100):
		return f, fmt.Errorf("loss: %g is not a percentage", v)
	case f.Kind == "loss":
		f.Value = int(v * 10)
	case f.Kind == "rate" && f.Value < 1:
		return f, fmt.Errorf("rate: at least 1 Mbit/s")
	case f.Kind != "rate" && (f.Value < 576 || f.Value > 1500):
		return f, fmt.Errorf("%s: %d is not between 576 and 1500", f.Kind, f.Value)
	}
	return f, nil
}

// parseNodeFault reads the words of a fault between one node and its router.
func parseNodeFault(words []string) (world.Fault, error) {
	f := world.Fault{Kind: words[0]}
	if len(words) < 2 {
		return f, fmt.Errorf("%s which node?", f.Kind)
	}
	h, ok := world.FindHost(words[1])
	if !ok || h.Type != "edge" {
		return f, fmt.Errorf("%s: %q is no node of a site: see `magpie-lab status`", f.Kind, words[1])
	}
	f.Host, f.Site = h.Name, h.Site
	return f, nil
}

// parseDelay reads jitter and loss, and checks all three.
func parseDelay(f *world.Fault, words []string) error {
	for i, into := range []*int{&f.Jitter, &f.Loss} {
		if i >= len(words) {
			break
		}
		v, err := strconv.ParseFloat(strings.TrimRight(words[i], "ms%"), 64)
		if err != nil || v < 0 {
			return fmt.Errorf("delay: %q is not a number", words[i])
		}
		*into = int(v)
		if into == &f.Loss {
			*into = int(v * 10)
		}
	}
	if f.Value < 0 || f.Value > 10_000 || f.Jitter > 10_000 || f.Loss > 1000 {
		return fmt.Errorf("%s: up to 10 s, 10 s more, and 100%%", f)
	}
	return nil
}

// addWorldFault replaces a fault of the same kind on the same site.
func (l *Lab) addWorldFault(ctx context.Context, f world.Fault) error {
	st, err := l.readFaults()
	if err != nil {
		return err
	}
	same := func(o world.Fault) bool { return o.Kind == f.Kind && o.Site == f.Site && o.Host == f.Host }
	if i := slices.IndexFunc(st.World, same); i >= 0 && f.Kind == "rebind-nat" {
		f.Value = st.World[i].Value
	}
	if f.Kind == "rebind-nat" {
		f.Value++
	}
	st.World = append(slices.DeleteFunc(st.World, same), f)
	if err := l.writeFaults(st); err != nil {
		return err
	}
	if err := world.ApplyFaults(ctx, l.dir, st.World); err != nil {
		return err
	}
	if f.Kind == "rebind-nat" {
		return world.Rebind(ctx, l.dir, f.Site)
	}
	return nil
}
