// SPDX-License-Identifier: Apache-2.0
//
// This file may also be used as (GPL-2.0-only OR BSD-2-Clause): the kernel lends
// its functions to programs under its own licence only.

// The fast path: packets of an established connection between pods go past the
// host's IP stack. Both programs give back TC_ACT_UNSPEC for whatever they do
// not know to be safe: it takes the normal way, through conntrack, NAT, the
// firewall and routing, and that is also how a connection becomes established.
// docs/adr/0019-fast-path.md says why, kernel/fastpath_linux.go loads it.

#include <linux/types.h>

typedef __u16 __sum16;
typedef __u32 __wsum;

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

// What we read of a connection. Offsets come from the running kernel's BTF.
#define KERNEL __attribute__((preserve_access_index))
struct nf_tcp_net { unsigned int timeouts[14]; } KERNEL;
struct nf_udp_net { unsigned int timeouts[2]; } KERNEL;
struct nf_ip_net { struct nf_tcp_net tcp; struct nf_udp_net udp; } KERNEL;
struct netns_ct { struct nf_ip_net nf_ct_proto; } KERNEL;
struct net { struct netns_ct ct; } KERNEL;
typedef struct { struct net *net; } KERNEL possible_net_t;
struct ip_ct_tcp { __u8 state; } KERNEL;
union nf_conntrack_proto { struct ip_ct_tcp tcp; } KERNEL;
struct nf_conn { unsigned long status; possible_net_t ct_net; union nf_conntrack_proto proto; } KERNEL;

// Source: linux include/net/netfilter/nf_conntrack_bpf.h; 12 bytes are taken
// by all kernels that have the functions.
struct ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto, dir, reserved[2];
};

struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *, struct bpf_sock_tuple *, __u32, struct ct_opts *, __u32) __ksym;
int bpf_ct_change_timeout(struct nf_conn *, __u32 msecs) __ksym;
void bpf_ct_release(struct nf_conn *) __ksym;

// Source: linux include/uapi/linux/netfilter/nf_conntrack_common.h, IPS_*.
#define ASSURED_CONFIRMED 0x000c
// Source NAT, destination NAT, sequence numbers adjusted, dying, template,
// untracked, helper, offloaded elsewhere: somebody must see each packet.
#define NOT_OURS 0xfa70
// Source: include/uapi/linux/netfilter/nf_conntrack_tcp.h and the kernel's
// enum udp_conntrack.
#define TCP_ESTABLISHED 3
#define UDP_REPLIED 1
#define AF_INET 2
#define AF_INET6 10
#define FRAGMENT 0x3fff // more fragments, or an offset

// jiffies is how many ticks the kernel counts a second.
volatile const __u32 jiffies = 100;

struct addr { __u32 word[4]; }; // IPv4 is mapped: ::ffff:a.b.c.d

// pod is where a pod of this node is. Kept equal to plan.Shortcut by the agent.
struct pod {
	__u32 ifindex; // the host's end of its veth pair
	__u8 mac[ETH_ALEN], host[ETH_ALEN];
	__u32 owner; // whose entry it is; not read here
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct addr);
	__type(value, struct pod);
} mag_pods SEC(".maps");

// mag_ways holds the overlay's devices: where else from_pod may send to.
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} mag_ways SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} mag_count SEC(".maps");

// flow is what is read of a packet.
struct flow {
	struct addr src, dst;
	struct bpf_sock_tuple tuple;
	__u32 length; // of the largest packet that will be on the wire, from the IP header on
	__u8 family, proto, tos;
};

#define DATA(skb) ((void *)(long)(skb)->data)
#define END(skb) ((void *)(long)(skb)->data_end)
#define inside(skb, p) ((void *)((p) + 1) <= END(skb))

// ports reads the transport header at l4, of a packet whose IP header has
// header bytes; 0 if the packet is not one for us. What opens or ends a
// connection conntrack must see.
static __always_inline int ports(struct __sk_buff *skb, struct flow *f, void *l4, __u32 header, __be16 *src, __be16 *dst)
{
	struct tcphdr *tcp = l4;
	__be16 *udp = l4;

	if (f->proto == IPPROTO_TCP) {
		if (!inside(skb, tcp) || tcp->syn || tcp->fin || tcp->rst)
			return 0;
		*src = tcp->source;
		*dst = tcp->dest;
		if (skb->gso_size)
			f->length = header + tcp->doff * 4 + skb->gso_size;
		return 1;
	}
	if (f->proto != IPPROTO_UDP || udp + 4 > (__be16 *)END(skb))
		return 0;
	*src = udp[0];
	*dst = udp[1];
	if (skb->gso_size)
		f->length = header + 8 + skb->gso_size;
	return 1;
}

static __always_inline int read4(struct __sk_buff *skb, struct flow *f)
{
	struct iphdr *ip = DATA(skb) + ETH_HLEN;

	if (!inside(skb, ip) || ip->version != 4 || ip->ihl != 5 || ip->ttl < 2 || ip->frag_off & bpf_htons(FRAGMENT))
		return 0;
	f->family = AF_INET;
	f->proto = ip->protocol;
	f->tos = ip->tos;
	f->length = bpf_ntohs(ip->tot_len);
	f->src.word[2] = f->dst.word[2] = bpf_htonl(0xffff);
	f->src.word[3] = f->tuple.ipv4.saddr = ip->saddr;
	f->dst.word[3] = f->tuple.ipv4.daddr = ip->daddr;
	return ports(skb, f, ip + 1, sizeof(*ip), &f->tuple.ipv4.sport, &f->tuple.ipv4.dport);
}

static __always_inline int read6(struct __sk_buff *skb, struct flow *f)
{
	struct ipv6hdr *ip = DATA(skb) + ETH_HLEN;

	// Any extension header is another protocol than TCP and UDP.
	if (!inside(skb, ip) || ip->version != 6 || ip->hop_limit < 2)
		return 0;
	f->family = AF_INET6;
	f->proto = ip->nexthdr;
	f->tos = ip->priority << 4 | ip->flow_lbl[0] >> 4;
	f->length = sizeof(*ip) + bpf_ntohs(ip->payload_len);
	__builtin_memcpy(&f->src, &ip->saddr, sizeof(f->src));
	__builtin_memcpy(&f->dst, &ip->daddr, sizeof(f->dst));
	__builtin_memcpy(f->tuple.ipv6.saddr, &ip->saddr, sizeof(f->src));
	__builtin_memcpy(f->tuple.ipv6.daddr, &ip->daddr, sizeof(f->dst));
	return ports(skb, f, ip + 1, sizeof(*ip), &f->tuple.ipv6.sport, &f->tuple.ipv6.dport);
}

// read fills f; 0 if the packet is not one for us. A mark is somebody's order.
static __always_inline int read(struct __sk_buff *skb, struct flow *f)
{
	if (skb->pkt_type != PACKET_HOST || skb->mark || skb->vlan_present)
		return 0;
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read4(skb, f);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return read6(skb, f);
	return 0;
}

// established reports whether conntrack knows the connection, has seen both of
// its ends and translates none of it; and keeps it known for as long as the
// host's settings say, as conntrack does for a packet that it sees.
static __always_inline int established(struct __sk_buff *skb, struct flow *f)
{
	struct ct_opts o = {.netns_id = BPF_F_CURRENT_NETNS, .l4proto = f->proto};
	struct nf_conn *ct;
	__u64 ticks = 0;

	// The verifier wants the size as a constant.
	if (f->family == AF_INET)
		ct = bpf_skb_ct_lookup(skb, &f->tuple, sizeof(f->tuple.ipv4), &o, sizeof(o));
	else
		ct = bpf_skb_ct_lookup(skb, &f->tuple, sizeof(f->tuple.ipv6), &o, sizeof(o));
	if (!ct)
		return 0;
	if ((ct->status & (ASSURED_CONFIRMED | NOT_OURS)) == ASSURED_CONFIRMED) {
		struct nf_ip_net *settings = &ct->ct_net.net->ct.nf_ct_proto;

		if (f->proto == IPPROTO_UDP)
			ticks = settings->udp.timeouts[UDP_REPLIED];
		else if (ct->proto.tcp.state == TCP_ESTABLISHED)
			ticks = settings->tcp.timeouts[TCP_ESTABLISHED];
	}
	if (ticks)
		bpf_ct_change_timeout(ct, ticks * 1000 / jiffies);
	bpf_ct_release(ct);
	return ticks > 0;
}

// forward does to the packet what forwarding does: one hop less, and the MACs
// of the next link.
static __always_inline int forward(struct __sk_buff *skb, __u8 family, const __u8 *to, const __u8 *from)
{
	struct ethhdr *eth;
	__u32 zero = 0;
	__u64 *count;

	if (family == AF_INET) {
		struct iphdr *ip = DATA(skb) + ETH_HLEN;
		__u32 sum;

		if (!inside(skb, ip))
			return 0;
		// Source: RFC 1141; the kernel's ip_decrease_ttl.
		sum = ip->check + bpf_htons(0x0100);
		ip->check = sum + (sum >= 0xffff);
		ip->ttl--;
	} else {
		// By the helper: a header of IPv6 counts in a checksum that the
		// network card has made of the whole packet.
		struct ipv6hdr *ip = DATA(skb) + ETH_HLEN;
		__u8 pair[2]; // next header and hop limit: at an even offset

		if (!inside(skb, ip))
			return 0;
		pair[0] = ip->nexthdr;
		pair[1] = ip->hop_limit - 1;
		if (bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct ipv6hdr, nexthdr), pair, sizeof(pair), BPF_F_RECOMPUTE_CSUM))
			return 0;
	}
	eth = DATA(skb);
	if (!inside(skb, eth))
		return 0;
	__builtin_memcpy(eth->h_dest, to, ETH_ALEN);
	__builtin_memcpy(eth->h_source, from, ETH_ALEN);
	count = bpf_map_lookup_elem(&mag_count, &zero);
	if (count)
		(*count)++;
	return 1;
}

static __always_inline int deliver(struct __sk_buff *skb, struct flow *f, struct pod *p)
{
	if (!established(skb, f) || !forward(skb, f->family, p->mac, p->host))
		return TC_ACT_UNSPEC;
	return bpf_redirect_peer(p->ifindex, 0);
}

// from_overlay sees what comes out of the overlay.
SEC("tc")
int from_overlay(struct __sk_buff *skb)
{
	struct flow f = {};
	struct pod *to;

	if (!read(skb, &f))
		return TC_ACT_UNSPEC;
	to = bpf_map_lookup_elem(&mag_pods, &f.dst);
	return to ? deliver(skb, &f, to) : TC_ACT_UNSPEC;
}

// from_pod sees what a pod sends, at the host's end of its veth pair. A pod has
// its own address as the source, or takes the normal way, where rp_filter is.
SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct bpf_fib_lookup fib = {};
	struct flow f = {};
	struct pod *p;

	if (!read(skb, &f))
		return TC_ACT_UNSPEC;
	p = bpf_map_lookup_elem(&mag_pods, &f.src);
	if (!p || p->ifindex != skb->ifindex)
		return TC_ACT_UNSPEC;
	p = bpf_map_lookup_elem(&mag_pods, &f.dst);
	fib.family = f.family;
	fib.ifindex = skb->ifindex;
	fib.l4_protocol = f.proto;
	fib.tot_len = f.length; // makes the lookup say what does not fit
	if (f.family == AF_INET) {
		fib.tos = f.tos;
		fib.ipv4_src = f.src.word[3];
		fib.ipv4_dst = f.dst.word[3];
	} else {
		__builtin_memcpy(fib.ipv6_src, &f.src, sizeof(f.src));
		__builtin_memcpy(fib.ipv6_dst, &f.dst, sizeof(f.dst));
	}
	if (bpf_fib_lookup(skb, &fib, sizeof(fib), 0) != BPF_FIB_LKUP_RET_SUCCESS)
		return TC_ACT_UNSPEC;
	if (p)
		return fib.ifindex == p->ifindex ? deliver(skb, &f, p) : TC_ACT_UNSPEC;
	if (!bpf_map_lookup_elem(&mag_ways, &fib.ifindex))
		return TC_ACT_UNSPEC;
	if (!established(skb, &f) || !forward(skb, f.family, fib.dmac, fib.smac))
		return TC_ACT_UNSPEC;
	return bpf_redirect(fib.ifindex, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
