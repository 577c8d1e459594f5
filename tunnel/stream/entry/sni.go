// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/magpie-edge/magpie/tunnel/stream"
)

// Defaults of SNI's limits.
const (
	helloTime   = 5 * time.Second
	hellosTotal = 1024
)

// SNI is the entry for a control plane whose flags are not ours: node names
// resolve to the gateway, and the server name in the TLS hello says which node
// is meant. TLS stays between the caller and the kubelet.
//
// Nobody can be authenticated here: a client certificate is encrypted in TLS
// 1.3 and meant for the kubelet. So this entry is fenced instead: it leads to
// one port, to nodes by name, from listed sources.
type SNI struct {
	Roads *Roads
	// Port of every node that this entry leads to: the kubelet's.
	Port uint16
	// Sources may use the entry; empty means nobody.
	Sources []netip.Prefix
	// Hello is how long a caller may take to send its hello, default 5 s; Hellos
	// is how many callers may be at that, default 1024.
	Hello  time.Duration
	Hellos int
	// Share of a node that each address among Sources may have.
	Share Share
}

// Serve accepts callers from l until l is closed, and returns when the last of
// them is gone. The end of ctx cuts all of them.
func (s *SNI) Serve(ctx context.Context, l net.Listener) error {
	var callers sync.WaitGroup
	defer callers.Wait()
	d := desk{SNI: s, reading: make(chan struct{}, cmp.Or(s.Hellos, hellosTotal)), shares: &shares{each: s.Share, have: map[shareKey]*share{}}}
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil { // out of files, most likely: those who are in must get on
			if !pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		near, ok := conn.(stream.Conn)
		from := source(conn.RemoteAddr())
		w := Wish{Port: s.Port, Node: true, Caller: "sni " + from.String()}
		switch {
		case !ok || !contains(s.Sources, from):
			s.turnAway(conn, w, stream.CodeForbidden, "this address is not among the sources of the SNI entry")
			continue
		case !take(d.reading):
			s.turnAway(conn, w, stream.CodeTooManyDials, "too many callers have not yet said whom they want")
			continue
		}
		callers.Go(func() { d.serve(ctx, near, w, from) })
	}
}

// desk is what callers of one listener share.
type desk struct {
	*SNI
	reading chan struct{}
	shares  *shares
}

// serve takes one caller from its hello to its end; its place in reading is
// free once the hello is there.
func (s desk) serve(ctx context.Context, near stream.Conn, w Wish, from netip.Addr) {
	stop := context.AfterFunc(ctx, func() { _ = near.Close() })
	defer stop()
	_ = near.SetReadDeadline(s.Roads.Now().Add(cmp.Or(s.Hello, helloTime)))
	name, early, err := peekHello(near)
	<-s.reading
	if err != nil {
		s.turnAway(near, w, stream.CodeBadRequest, err.Error())
		return
	}
	_ = near.SetReadDeadline(time.Time{})
	if w.Host, err = parseName(name); err != nil {
		text := "the server name in the hello is " + err.Error()
		if name == "" {
			text = "the hello has no server name: an API server without --kubelet-certificate-authority sends none for exec, attach and port-forward"
		}
		s.turnAway(near, w, stream.CodeBadRequest, text)
		return
	}
	key := shareKey{from, w.Host}
	if why := s.shares.enter(key, s.Roads.Now()); why != nil {
		s.turnAway(near, w, why.Code, why.Text)
		return
	}
	defer s.shares.leave(key)
	far, err := s.Roads.Open(ctx, w)
	if err != nil {
		alert(near, refusal(err, stream.CodeReset).Code)
		return
	}
	join(ctx, &ahead{Conn: near, early: early}, far, s.Roads.Now)
}

func (s *SNI) turnAway(near net.Conn, w Wish, code stream.Code, text string) {
	_ = s.Roads.Refuse(w, code, text)
	alert(near, code)
}

// alert tells a caller that speaks TLS that it goes no further, so that it
// reports an error at once instead of the end of the connection.
// Source: RFC 8446 section 6; alert 112 is unrecognized_name, 80 internal_error,
// 49 access_denied. It is the first that is written, so it can not wait for room.
func alert(near net.Conn, code stream.Code) {
	description := map[stream.Code]byte{
		stream.CodeNotAllowed: 112, stream.CodeBadRequest: 112, stream.CodeForbidden: 49,
	}[code]
	_, _ = near.Write([]byte{21, 3, 3, 0, 2, 2, cmp.Or(description, 80)})
	_ = near.Close()
}

func source(a net.Addr) netip.Addr {
	p, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr().Unmap().WithZone("")
}

func contains(in []netip.Prefix, a netip.Addr) bool {
	for _, p := range in {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func take(places chan<- struct{}) bool {
	select {
	case places <- struct{}{}:
		return true
	default:
		return false
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
