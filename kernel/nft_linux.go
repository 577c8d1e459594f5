// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"

	"github.com/magpie-edge/magpie/plan"
)

// nft reads nftables by netlink messages and writes elements the same way.
// Tables are swapped through the nft program, whose language bodies are in.
type nft struct {
	home string // path of the namespace; "" is the one we are in

	mu       sync.Mutex
	conn     *netlink.Conn
	elements *nftables.Conn
	program  knftables.Interface // nil until the first swap
	// known remembers tables that this process has written or found intact,
	// so that Observe can give their text and see any later change.
	known map[plan.TableKey]knownTable
	// cache holds what Observe found at a generation of the ruleset.
	cache map[string]cachedTables // by owner
	// kinds are the types of sets, as found at the last look at a table.
	kinds map[plan.TableKey]map[string]kind
}

type knownTable struct {
	body  string
	print string // of the kernel's own bytes, see tableState
}

type cachedTables struct {
	generation uint32
	tables     []plan.Table
	members    []plan.Member
}

func openNFT(home string) (*nft, error) {
	n := &nft{
		home: home, known: map[plan.TableKey]knownTable{},
		cache: map[string]cachedTables{}, kinds: map[plan.TableKey]map[string]kind{},
	}
	fd := 0 // the namespace we are in
	if home != "" {
		var err error
		if fd, err = openNS(home); err != nil {
			return nil, err
		}
		defer unix.Close(fd)
	}
	var err error
	if n.conn, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: fd}); err != nil {
		return nil, fmt.Errorf("nftables socket: %w", err)
	}
	if n.elements, err = nftables.New(nftables.AsLasting(), nftables.WithNetNSFd(fd)); err != nil {
		return nil, errors.Join(fmt.Errorf("nftables socket: %w", err), n.conn.Close())
	}
	return n, nil
}

func (n *nft) close() error {
	return errors.Join(n.conn.Close(), n.elements.CloseLasting())
}

// generation is a number that changes with every change of the ruleset in this
// namespace, whoever makes it.
func (n *nft) generation() (uint32, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.gen()
}

func (n *nft) gen() (uint32, error) {
	reply, err := n.ask(unix.NFT_MSG_GETGEN, unix.NFPROTO_UNSPEC, 0)
	if err != nil {
		return 0, fmt.Errorf("generation of nftables: %w", err)
	}
	for _, m := range reply {
		for _, a := range m {
			if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
				return binary.BigEndian.Uint32(a.Data), nil
			}
		}
	}
	return 0, errors.New("generation of nftables: not in the answer")
}

// attrs are the attributes of one message.
type attrs []netlink.Attribute

// get returns the bytes of an attribute; nil if there is none.
func (a attrs) get(kind uint16) []byte {
	for _, x := range a {
		if x.Type&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return x.Data
		}
	}
	return nil
}

// text returns an attribute that is a string.
func (a attrs) text(kind uint16) string {
	b := a.get(kind)
	if n := len(b); n > 0 && b[n-1] == 0 {
		b = b[:n-1]
	}
	return string(b)
}

// number returns an attribute of four bytes; 0 if there is none.
func (a attrs) number(kind uint16) uint32 {
	if b := a.get(kind); len(b) == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// nested returns the attributes inside an attribute.
func (a attrs) nested(kind uint16) attrs {
	inner, err := netlink.UnmarshalAttributes(a.get(kind))
	if err != nil {
		return nil
	}
	return inner
}

// ask sends one nftables request and returns the attributes of each answer.
// An interrupted dump is an error that says so.
func (n *nft) ask(message int, family uint8, flags netlink.HeaderFlags, with ...netlink.Attribute) ([]attrs, error) {
	data, err := netlink.MarshalAttributes(with)
	if err != nil {
		return nil, err
	}
	replies, err := n.conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message),
			Flags: netlink.Request | flags,
		},
		// struct nfgenmsg: family, version, resource id
		Data: append([]byte{family, unix.NFNETLINK_V0, 0, 0}, data...),
	})
	if err != nil {
		return nil, err
	}
	out := make([]attrs, 0, len(replies))
	for _, r := range replies {
		if r.Header.Flags&netlink.HeaderFlags(unix.NLM_F_DUMP_INTR) != 0 {
			return nil, unix.EINTR
		}
		if len(r.Data) < 4 {
			continue
		}
		a, err := netlink.UnmarshalAttributes(r.Data[4:])
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func named(kind uint16, name string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(name), 0)}
}

// families are those that a plan may name.
func families() map[string]uint8 {
	return map[string]uint8{"ip": unix.NFPROTO_IPV4, "ip6": unix.NFPROTO_IPV6, "inet": unix.NFPROTO_INET}
}
