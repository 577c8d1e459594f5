// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-iptables/iptables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/magpie-edge/magpie/plan"
)

// accepts keeps accept rules in the host's own iptables chains.
type accepts struct {
	home string
	nft  *nft

	mu       sync.Mutex
	programs map[bool]*iptables.IPTables // by family, true is IPv6; nil until first used
	legacy   bool                        // the program does not write nftables
	looked   bool                        // legacy is known, and used says whether there is a program
	used     bool
	print    string // of the filter tables when rules were listed
	rules    []listedRule
	// printed is the last fingerprint, of that generation of nftables.
	printed struct {
		generation uint32
		print      string
	}
}

// listedRule is one rule with a comment of ours in a chain of table filter.
type listedRule struct {
	owner  string // as the comment says: "magpie:cni"
	accept plan.Accept
}

func newAccepts(home string, n *nft) *accepts {
	return &accepts{home: home, nft: n, programs: map[bool]*iptables.IPTables{}}
}

// read appends the owner's accepts. Listing rules means running a program, so
// they are listed again only when the kernel says that a filter table changed.
func (a *accepts) read(ctx context.Context, o plan.Owner, p *plan.Plan) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.look(ctx); err != nil || !a.used {
		return err
	}
	print, err := a.fingerprint()
	if err != nil {
		return fmt.Errorf("look at iptables: %w", err)
	}
	if a.print == "" || a.print != print {
		if a.rules, err = a.list(ctx); err != nil {
			return err
		}
		// The program itself creates tables that it finds missing.
		if a.print, err = a.fingerprint(); err != nil {
			return fmt.Errorf("look at iptables: %w", err)
		}
	}
	for _, r := range a.rules {
		if r.owner == alias(o) && !slices.Contains(p.Accepts, r.accept) {
			p.Accepts = append(p.Accepts, r.accept)
		}
	}
	return nil
}

// look finds out, once, which iptables the host has. A host without the
// program has no rules of ours.
func (a *accepts) look(ctx context.Context) error {
	if a.looked {
		return nil
	}
	out, err := exec.CommandContext(ctx, "iptables", "--version").Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
	case err != nil:
		return fmt.Errorf("iptables --version: %w", err)
	default:
		a.used, a.legacy = true, !strings.Contains(string(out), "nf_tables")
	}
	a.looked = true
	return nil
}

// fingerprint changes with the rules of the filter tables. It never starts a
// program, and while nothing in nftables has changed it costs one small message:
// kube-proxy may have put thousands of rules there.
func (a *accepts) fingerprint() (string, error) {
	if a.legacy {
		return a.legacyPrint()
	}
	a.nft.mu.Lock()
	defer a.nft.mu.Unlock()
	generation, err := a.nft.gen()
	if err != nil {
		return "", err
	}
	if a.printed.print != "" && a.printed.generation == generation {
		return a.printed.print, nil
	}
	var raw []string
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		rules, err := a.nft.ask(unix.NFT_MSG_GETRULE, family, netlink.Dump, named(unix.NFTA_RULE_TABLE, "filter"))
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return "", err
		}
		for _, r := range rules {
			raw = append(raw, r.text(unix.NFTA_RULE_CHAIN)+" "+expressions(r))
		}
	}
	// A change while we asked has made another generation.
	a.printed.generation, a.printed.print = generation, sum(raw...)
	return a.printed.print, nil
}

// changed reports whether rules may have changed since the last look, for a
// watch over the kind of iptables that announces nothing.
func (a *accepts) changed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.looked || !a.legacy || a.print == "" {
		return false
	}
	print, err := a.fingerprint()
	return err == nil && print != a.print
}

// list runs the program once a family.
func (a *accepts) list(ctx context.Context) ([]listedRule, error) {
	var out []listedRule
	for _, v6 := range []bool{false, true} {
		var text []byte
		err := inNS(a.home, func() (err error) {
			text, err = exec.CommandContext(ctx, program(v6), "-w", "5", "-S").Output()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s -S: %w", program(v6), withOutput(err))
		}
		for line := range strings.Lines(string(text)) {
			if r, ok := parseRule(line, v6); ok {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

func program(v6 bool) string {
	if v6 {
		return "ip6tables"
	}
	return "iptables"
}

func withOutput(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && len(exit.Stderr) > 0 {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return err
}

// parseRule reads one line of iptables -S; ok is false if it is no accept with
// a comment of ours.
func parseRule(line string, v6 bool) (r listedRule, ok bool) {
	words := strings.Fields(strings.ReplaceAll(line, `"`, ""))
	if len(words) < 4 || words[0] != "-A" || !strings.HasSuffix(strings.TrimSpace(line), "-j ACCEPT") {
		return r, false
	}
	chain, words := words[1], words[2:len(words)-2]
	i := slices.Index(words, "--comment")
	if i < 2 || i+1 >= len(words) || !strings.HasPrefix(words[i+1], "magpie:") {
		return r, false
	}
	r.owner = words[i+1]
	words = append(slices.Clone(words[:i-2]), words[i+2:]...)
	r.accept = plan.Accept{V6: v6, Chain: chain, Match: canonicalMatch(strings.Join(words, " "))}
	return r, true
}

// canonicalMatch writes addresses as prefixes, the way plans do: iptables
// prints a host with its full length.
func canonicalMatch(match string) string {
	words := strings.Fields(match)
	for i := 1; i < len(words); i++ {
		if words[i-1] != "-s" && words[i-1] != "-d" {
			continue
		}
		if p, err := netip.ParsePrefix(words[i]); err == nil {
			words[i] = p.Masked().String()
		} else if addr, err := netip.ParseAddr(words[i]); err == nil {
			words[i] = netip.PrefixFrom(addr, addr.BitLen()).String()
		}
	}
	return strings.Join(words, " ")
}

// write adds an accept at the top of its chain, or removes it.
func (a *accepts) write(o plan.Owner, p plan.Accept, drop bool) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.print = "" // list again, whatever happens
	t, err := a.program(p.V6)
	if err != nil {
		return 0, err
	}
	rule := append(strings.Fields(p.Match), "-m", "comment", "--comment", alias(o), "-j", "ACCEPT")
	writes := 0
	err = inNS(a.home, func() error {
		there, err := t.Exists("filter", p.Chain, rule...)
		if err != nil || there != drop {
			return err
		}
		writes = 1
		if drop {
			return t.Delete("filter", p.Chain, rule...)
		}
		return t.Insert("filter", p.Chain, 1, rule...)
	})
	if err != nil {
		return 0, err
	}
	return writes, nil
}

func (a *accepts) program(v6 bool) (*iptables.IPTables, error) {
	if t := a.programs[v6]; t != nil {
		return t, nil
	}
	protocol := iptables.ProtocolIPv4
	if v6 {
		protocol = iptables.ProtocolIPv6
	}
	t, err := iptables.New(iptables.IPFamily(protocol), iptables.Timeout(int(5*time.Second/time.Second)))
	if err != nil {
		return nil, fmt.Errorf("find iptables: %w", err)
	}
	a.programs[v6] = t
	return t, nil
}

// legacyPrint asks the kernel's older table format for its size and hooks; a
// rule more or less changes them.
// Source: linux include/uapi/linux/netfilter_ipv4/ip_tables.h, struct ipt_getinfo.
func (a *accepts) legacyPrint() (string, error) {
	var raw []string
	err := inNS(a.home, func() error {
		for _, f := range []struct{ family, level int }{{unix.AF_INET, unix.SOL_IP}, {unix.AF_INET6, unix.SOL_IPV6}} {
			b, err := tableInfo(f.family, f.level)
			if err != nil {
				return err
			}
			raw = append(raw, string(b))
		}
		return nil
	})
	return sum(raw...), err
}
