// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/internal/golden"
	"github.com/magpie-edge/magpie/tunnel/dial"
)

// TestScenarios plays scripts in virtual time. A line is a time and an event,
// or a rule: what happens to dials from then on. What the Dialler wants is
// printed with the time when it wanted it. Chance is half of each window.
func TestScenarios(t *testing.T) {
	golden.Run(t, "testdata/*.txtar", func(t *testing.T, c golden.Case) string {
		t.Helper()
		s := &script{d: dial.New(func() float64 { return 0.5 }), now: start, rules: map[string]*rule{}}
		for line := range strings.Lines(string(c.File(t, "in"))) {
			if f := strings.Fields(line); len(f) > 0 {
				s.line(t, f)
			}
		}
		return s.out.String()
	})
}

var start = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

type script struct {
	d     *dial.Dialler
	now   time.Time
	out   strings.Builder
	rules map[string]*rule // by address and way
	later []answer
}

// rule is what becomes of dials: "TIME rule ADDRESS WAY fails|answers AFTER
// INSTANCE...": who answers goes round; all of them are in each greeting.
type rule struct {
	answers   bool
	after     time.Duration
	instances []string
	turn      int
}

type answer struct {
	at time.Time
	e  dial.Event
}

func (s *script) line(t *testing.T, f []string) {
	t.Helper()
	at := duration(t, f[0])
	s.runTo(t, start.Add(at))
	fmt.Fprintf(&s.out, "%s\n", strings.Join(f, " "))
	switch f[1] {
	case "rule":
		s.rules[f[2]+" "+f[3]] = &rule{answers: f[4] == "answers", after: duration(t, f[5]), instances: f[6:]}
		return
	case "look":
		for _, x := range s.d.Sessions() {
			fmt.Fprintf(&s.out, "    session %d %s at %s %s\n", x.Conn, x.Instance, x.Addr, way(x.Via))
		}
	}
	s.step(event(t, f[1], f[2:]))
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func way(via string) string {
	if via == "" {
		return "straight"
	}
	return via
}

// runTo lets answers come and ticks whenever the Dialler asks for it.
func (s *script) runTo(t *testing.T, end time.Time) {
	t.Helper()
	for range 1000 {
		slices.SortStableFunc(s.later, func(a, b answer) int { return a.at.Compare(b.at) })
		next, e := s.d.Next(), dial.Event(dial.Tick{})
		answered := len(s.later) > 0 && (next.IsZero() || !s.later[0].at.After(next))
		if answered {
			next, e = s.later[0].at, s.later[0].e
		}
		if next.IsZero() || next.After(end) {
			s.now = end
			return
		}
		if answered {
			s.later = s.later[1:]
		}
		if next.After(s.now) {
			s.now = next
		}
		s.step(e)
	}
	t.Fatalf("it never comes to rest; asked for %s at %s", s.d.Next(), s.now)
}

func (s *script) step(e dial.Event) {
	for _, a := range s.d.Step(s.now, e) {
		at := s.now.Sub(start)
		switch a := a.(type) {
		case dial.Dial:
			fmt.Fprintf(&s.out, "    %s dial %d %s %s\n", at, a.Conn, a.Addr, way(a.Via))
			s.follow(a)
		case dial.Drain:
			fmt.Fprintf(&s.out, "    %s drain %d: %s\n", at, a.Conn, a.Why)
			s.later = append(s.later, answer{s.now.Add(time.Second), dial.Ended{Conn: a.Conn}})
		case dial.Close:
			fmt.Fprintf(&s.out, "    %s close %d: %s\n", at, a.Conn, a.Why)
			s.later = append(s.later, answer{s.now, dial.Ended{Conn: a.Conn}})
		}
	}
}

func (s *script) follow(a dial.Dial) {
	r := s.rules[a.Addr+" "+way(a.Via)]
	switch {
	case r == nil:
	case !r.answers:
		s.later = append(s.later, answer{s.now.Add(r.after), dial.Ended{Conn: a.Conn}})
	default:
		who := r.instances[r.turn%len(r.instances)]
		r.turn++
		all := slices.Sorted(slices.Values(r.instances))
		s.later = append(s.later, answer{s.now.Add(r.after), dial.Greeted{Conn: a.Conn, Instance: who, Instances: slices.Compact(all)}})
	}
}

func event(t *testing.T, name string, args []string) dial.Event {
	t.Helper()
	number := func(i int) int {
		n, err := strconv.Atoi(args[i])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	switch name {
	case "addresses":
		return dial.Addresses{List: args}
	case "relays":
		return dial.Relays{List: args}
	case "renewed":
		return dial.Renewed{}
	case "greeted":
		return dial.Greeted{Conn: number(0), Instance: args[1], Instances: args[1:]}
	case "streams":
		return dial.Streams{Conn: number(0), Count: number(1)}
	case "left":
		return dial.Left{Conn: number(0)}
	case "ended":
		return dial.Ended{Conn: number(0)}
	case "stop":
		return dial.Stop{}
	case "look":
		return dial.Tick{}
	}
	t.Fatalf("unknown event %q", name)
	return nil
}
