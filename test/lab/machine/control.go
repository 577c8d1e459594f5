// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// socketPath is where pid 1 takes orders. It lies in the machine's own /run.
const socketPath = "/run/lab-init.sock"

// unitFolders, in order of precedence. Source: systemd.unit(5).
var unitFolders = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/lab/units"}

type request struct {
	Verb  string   `json:"verb"`
	Units []string `json:"units"`
}

type reply struct {
	Code int    `json:"code"`
	Text string `json:"text"`
}

// serve answers orders for ever.
func serve(s *supervisor) error {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", socketPath)
	if err != nil {
		return fmt.Errorf("listen for orders: %w", err)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("accept order: %w", err)
		}
		go func() {
			defer conn.Close()
			var q request
			if err := json.NewDecoder(conn).Decode(&q); err != nil {
				return
			}
			_ = json.NewEncoder(conn).Encode(s.do(q))
		}()
	}
}

func call(ctx context.Context, socket string, q request) (reply, error) {
	var rep reply
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return rep, fmt.Errorf("call init: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return rep, fmt.Errorf("call init: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&rep); err != nil {
		return rep, fmt.Errorf("call init: %w", err)
	}
	return rep, nil
}

// do carries out one order. Exit codes are systemctl's.
func (s *supervisor) do(q request) reply {
	if q.Verb == "boot" {
		return s.boot()
	}
	var out reply
	for _, u := range q.Units {
		if !strings.Contains(u, ".") {
			u += ".service"
		}
		r := s.doUnit(q.Verb, u)
		out.Code = max(out.Code, r.Code)
		out.Text += r.Text
	}
	return out
}

func (s *supervisor) doUnit(verb, u string) reply {
	switch verb {
	case "start":
		return failed(s.start(u))
	case "stop":
		s.stopUnit(u)
	case "restart", "reload-or-restart", "reload":
		s.stopUnit(u)
		return failed(s.start(u))
	case "try-restart", "condrestart":
		if s.state(u) == "active" {
			s.stopUnit(u)
			return failed(s.start(u))
		}
	case "kill":
		s.mu.Lock()
		defer s.mu.Unlock()
		if sv, ok := s.services[u]; ok && sv.pid > 0 {
			return failed(killGroup(sv.pid))
		}
	case "enable":
		return failed(enable(u))
	case "disable":
		return failed(disable(u))
	case "is-active":
		st := s.state(u)
		if st == "active" {
			return reply{Text: st + "\n"}
		}
		return reply{Code: 3, Text: st + "\n"}
	case "is-enabled":
		if enabled(u) {
			return reply{Text: "enabled\n"}
		}
		return reply{Code: 1, Text: "disabled\n"}
	case "status":
		return s.status(u)
	}
	return reply{}
}

func failed(err error) reply {
	if err != nil {
		return reply{Code: 1, Text: err.Error() + "\n"}
	}
	return reply{}
}

func (s *supervisor) state(u string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sv, ok := s.services[u]; ok {
		return sv.state
	}
	return "inactive"
}

func (s *supervisor) status(u string) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	sv, ok := s.services[u]
	if !ok {
		return reply{Code: 3, Text: u + ": inactive\n"}
	}
	text := fmt.Sprintf("%s: %s, pid %d, since %s, last end: %s, log %s/%s.log\n",
		u, sv.state, sv.pid, sv.since.Format("15:04:05"), sv.result, logDir, logName(u))
	if sv.state == "active" {
		return reply{Text: text}
	}
	return reply{Code: 3, Text: text}
}

// wants is the folder whose links are the enabled units.
const wants = "/etc/systemd/system/multi-user.target.wants"

func enable(u string) error {
	if _, err := ReadUnit(u, unitFolders...); err != nil {
		return err
	}
	if err := os.MkdirAll(wants, 0o755); err != nil {
		return fmt.Errorf("enable %s: %w", u, err)
	}
	return ensureLink(filepath.Join(unitFolders[0], u), filepath.Join(wants, u))
}

func disable(u string) error {
	if err := os.Remove(filepath.Join(wants, u)); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("disable %s: %w", u, err)
	}
	return nil
}

func enabled(u string) bool {
	_, err := os.Lstat(filepath.Join(wants, u))
	return err == nil
}

// boot starts what is enabled, each unit after those it names in After=.
func (s *supervisor) boot() reply {
	links, _ := filepath.Glob(filepath.Join(wants, "*.service"))
	units := map[string]Unit{}
	for _, l := range links {
		name := filepath.Base(l)
		u, err := ReadUnit(name, unitFolders...)
		if err != nil {
			s.log.Warn("unit is enabled but cannot be read", "unit", name, "err", err)
			continue
		}
		units[name] = u
	}
	var text strings.Builder
	var errs int
	for _, name := range bootOrder(units) {
		if err := s.start(name); err != nil {
			errs = 1
			text.WriteString(err.Error() + "\n")
		}
	}
	return reply{Code: errs, Text: text.String()}
}

func bootOrder(units map[string]Unit) []string {
	names := make([]string, 0, len(units))
	for n := range units {
		names = append(names, n)
	}
	slices.Sort(names)
	var out []string
	seen := map[string]bool{}
	var visit func(string)
	visit = func(n string) {
		u, ok := units[n]
		if !ok || seen[n] {
			return
		}
		seen[n] = true
		for _, before := range u.After {
			visit(before)
		}
		out = append(out, n)
	}
	for _, n := range names {
		visit(n)
	}
	return out
}
