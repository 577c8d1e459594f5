// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Unit is what this init understands of a systemd service unit: enough for a
// container runtime, a kubelet and what a join script writes. Unknown keys
// are ignored, as systemd does.
type Unit struct {
	Name      string
	Type      string   // simple (also exec), notify, oneshot
	Start     []string // ExecStart lines; more than one only for oneshot
	StartPre  []string
	StopPost  []string
	Env       []string // KEY=value
	EnvFiles  []string // a leading "-" means it may be missing
	Dir       string
	Restart   string // no, always, on-failure
	RestartIn time.Duration
	After     []string // started before this one if both are to start
	Remain    bool     // RemainAfterExit
	WantedBy  []string
}

// ReadUnit reads name from the folders in order of precedence, and then its
// drop-ins from all of them in order of their names.
// Source: systemd.unit(5), systemd.service(5).
func ReadUnit(name string, folders ...string) (Unit, error) {
	u := Unit{Name: name, Type: "simple", Restart: "no", RestartIn: 100 * time.Millisecond}
	found := false
	for _, dir := range folders {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return u, fmt.Errorf("read unit: %w", err)
		}
		u.merge(string(b))
		found = true
		break
	}
	if !found {
		return u, fmt.Errorf("unit %s not found", name)
	}
	drops := map[string]string{}
	for _, dir := range slices.Backward(folders) {
		files, _ := filepath.Glob(filepath.Join(dir, name+".d", "*.conf"))
		for _, f := range files {
			drops[filepath.Base(f)] = f
		}
	}
	for _, base := range sortedKeys(drops) {
		b, err := os.ReadFile(drops[base])
		if err != nil {
			return u, fmt.Errorf("read drop-in: %w", err)
		}
		u.merge(string(b))
	}
	if len(u.Start) == 0 {
		return u, fmt.Errorf("unit %s has no ExecStart", name)
	}
	return u, nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// merge applies one file on top of what was read before.
func (u *Unit) merge(text string) {
	section := ""
	for _, line := range logicalLines(text) {
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			continue
		}
		u.set(section, strings.TrimSpace(k), strings.TrimSpace(v))
	}
}

func (u *Unit) set(section, key, v string) {
	switch section + key {
	case "[Service]ExecStart":
		u.Start = list(u.Start, v)
	case "[Service]ExecStartPre":
		u.StartPre = list(u.StartPre, v)
	case "[Service]ExecStopPost":
		u.StopPost = list(u.StopPost, v)
	case "[Service]EnvironmentFile":
		u.EnvFiles = list(u.EnvFiles, v)
	case "[Service]Environment":
		if v == "" {
			u.Env = nil
		}
		u.Env = append(u.Env, words(v)...)
	case "[Service]Type":
		u.Type = v
	case "[Service]WorkingDirectory":
		u.Dir = strings.TrimPrefix(v, "-")
	case "[Service]Restart":
		u.Restart = v
	case "[Service]RestartSec":
		u.RestartIn = seconds(v)
	case "[Service]RemainAfterExit":
		u.Remain = v == "yes" || v == "true" || v == "1"
	case "[Unit]After":
		u.After = append(u.After, strings.Fields(v)...)
	case "[Install]WantedBy":
		u.WantedBy = append(u.WantedBy, strings.Fields(v)...)
	}
}

// list appends, or empties the list if the value is empty.
func list(have []string, v string) []string {
	if v == "" {
		return nil
	}
	return append(have, v)
}

func seconds(v string) time.Duration {
	if d, err := time.ParseDuration(v); err == nil {
		return d
	}
	if d, err := time.ParseDuration(v + "s"); err == nil {
		return d
	}
	return 100 * time.Millisecond
}

// logicalLines joins continued lines and drops comments and blanks. A comment
// inside a continued line does not end it.
func logicalLines(text string) []string {
	var out []string
	var cur strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		if more, ok := strings.CutSuffix(line, `\`); ok {
			cur.WriteString(more + " ")
			continue
		}
		cur.WriteString(line)
		if s := strings.TrimSpace(cur.String()); s != "" {
			out = append(out, s)
		}
		cur.Reset()
	}
	if s := strings.TrimSpace(cur.String()); s != "" {
		out = append(out, s)
	}
	return out
}

// words splits a value at blanks, with systemd's quotes and escapes.
func words(s string) []string {
	var out []string
	var cur strings.Builder
	var quote rune
	in, esc := false, false
	for _, r := range s {
		switch {
		case esc:
			cur.WriteRune(r)
			esc = false
		case r == '\\' && quote != '\'':
			esc, in = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, in = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			if in {
				out = append(out, cur.String())
				cur.Reset()
				in = false
			}
		default:
			cur.WriteRune(r)
			in = true
		}
	}
	if in {
		out = append(out, cur.String())
	}
	return out
}
