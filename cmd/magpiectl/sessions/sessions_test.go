// SPDX-License-Identifier: Apache-2.0

package sessions_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/cmd/magpiectl/page"
	"github.com/magpie-edge/magpie/cmd/magpiectl/sessions"
	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/tunnel/stream"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func session(node string, streams int, rtt time.Duration) stream.Session {
	return stream.Session{
		Node: node, Remote: "198.51.100.7:40112", Since: now.Add(-26 * time.Hour), Expires: now.Add(17 * time.Hour),
		Conns: 2, Streams: streams, Bytes: 1 << 20, RTT: rtt, Answer: stream.Answer{Node: node, Version: "v0.1.0"},
	}
}

func metrics(until time.Time, refused string) string {
	return fmt.Sprintf("# HELP magpie_tunnel_certificate_expiry_timestamp_seconds End.\n"+
		"magpie_tunnel_certificate_expiry_timestamp_seconds %g\n%sgo_goroutines 12\n", float64(until.Unix()), refused)
}

// well is the lab: two instances, four nodes at sites, each connected to both.
func well() sessions.Input {
	in := sessions.Input{Now: now}
	for _, n := range []string{"cloud-1", "cloud-2"} {
		in.Nodes = append(in.Nodes, sessions.Member{Name: n, Domain: "gw-cloud", Ready: true})
	}
	var all []stream.Session
	for i, n := range []string{"a-1", "a-2", "b-1", "c-1"} {
		domain := map[byte]string{'a': "gw-shop-a", 'b': "gw-shop-b", 'c': "gw-plant"}[n[0]]
		in.Nodes = append(in.Nodes, sessions.Member{Name: n, Domain: domain, Ready: true, Dials: true})
		all = append(all, session(n, i, time.Duration(20+i)*time.Millisecond))
	}
	for i, p := range []string{"magpie-system/magpie-gateway-7d9f8b6c5-x2x4z", "magpie-system/magpie-gateway-7d9f8b6c5-k8kqp"} {
		in.Answers = append(in.Answers, sessions.Answer{
			Pod: p, Host: fmt.Sprintf("cloud-%d", i+1), Ready: true, Metrics: metrics(now.Add(20*time.Hour), ""),
			Status: sessions.Status{Version: "v0.1.0", Sessions: append([]stream.Session{}, all...)},
		})
	}
	return in
}

func worlds() map[string]func(in *sessions.Input) {
	return map[string]func(in *sessions.Input){
		"well": func(*sessions.Input) {},
		"off":  func(in *sessions.Input) { *in = sessions.Input{Now: now, Off: "no magpie-gateway is installed"} },
		"no-gateway": func(in *sessions.Input) {
			in.Answers = nil
		},
		"silent": func(in *sessions.Input) {
			for i := range in.Answers {
				in.Answers[i].Err, in.Answers[i].Status, in.Answers[i].Metrics = errors.New("dial tcp 10.42.1.9:10296: i/o timeout"), sessions.Status{}, ""
			}
		},
		"wrong": func(in *sessions.Input) {
			in.Answers[1].Status.Sessions = nil
			in.Answers[1].Metrics = metrics(now.Add(time.Hour), "")
			s := &in.Answers[0].Status
			s.Sessions = append(s.Sessions[:2], s.Sessions[3:]...) // b-1 has none
			s.Sessions[0].Expires = now.Add(-time.Minute)
			s.Sessions = append(s.Sessions, session("gone-1", 0, 0))
			in.Nodes[5].Ready = false // c-1, and it is connected all the same
			in.Answers[0].Metrics = metrics(now.Add(20*time.Hour),
				`magpie_tunnel_refusals_total{code="forbidden",op="http"} 3`+"\n"+
					`magpie_tunnel_refusals_total{code="forbidden",op="sni"} 2`+"\n"+
					`magpie_tunnel_refusals_total{code="no-session",op="connect"} 40`+"\n")
		},
		"relayed": func(in *sessions.Input) {
			in.Answers[0].Status.Sessions[1].Answer.Via = "192.168.1.11:10297"
		},
		// Its site is cut off, so it is not Ready, and nobody reaches it.
		"cut-off": func(in *sessions.Input) {
			in.Nodes[4].Ready = false // b-1
			for i := range in.Answers {
				s := &in.Answers[i].Status
				s.Sessions = append(s.Sessions[:2], s.Sessions[3:]...)
			}
		},
		"many": func(in *sessions.Input) {
			for i := range 300 {
				name := fmt.Sprintf("a-node-with-a-very-long-name-%03d", i)
				in.Nodes = append(in.Nodes, sessions.Member{Name: name, Domain: "gw-a-domain-with-a-long-name", Ready: true, Dials: true})
				if i != 77 {
					in.Answers[0].Status.Sessions = append(in.Answers[0].Status.Sessions, session(name, 0, 31*time.Millisecond))
				}
			}
		},
	}
}

func TestText(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		in := well()
		worlds()[c.Name](&in)
		r := sessions.Build(in)
		if r.OK != (len(r.Problems) == 0) {
			t.Errorf("ok is %v with %d problems", r.OK, len(r.Problems))
		}
		text := sessions.Text(r, false)
		for line := range strings.Lines(text) {
			if len(strings.TrimRight(line, "\n")) > page.Width {
				t.Errorf("wider than %d columns: %q", page.Width, line)
			}
		}
		if strings.HasPrefix(lastLine(text), "ok") && strings.Contains(text, "0 of") {
			t.Error("ok, and a node is not connected")
		}
		for _, p := range r.Problems {
			if p.Code == "" || p.Subject == "" || p.Text == "" || p.Do == "" {
				t.Errorf("%+v", p)
			}
		}
		return text
	})
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}
