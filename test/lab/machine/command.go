// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Environ is the environment of the unit's processes: Environment, then the
// files, which win.
func (u *Unit) Environ() ([]string, error) {
	env := []string{"PATH=" + Path, "HOME=/root", "LANG=C.UTF-8"}
	env = append(env, u.Env...)
	for _, file := range u.EnvFiles {
		name, optional := strings.CutPrefix(file, "-")
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) && optional {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read environment of %s: %w", u.Name, err)
		}
		for _, line := range logicalLines(string(b)) {
			k, v, ok := strings.Cut(line, "=")
			if !ok {
				continue
			}
			v = strings.TrimSpace(v)
			if n := len(v); n >= 2 && (v[0] == '"' || v[0] == '\'') && v[n-1] == v[0] {
				v = v[1 : n-1]
			}
			env = append(env, strings.TrimSpace(k)+"="+v)
		}
	}
	return env, nil
}

// Argv turns an Exec line into words. $NAME as a word of its own becomes as
// many words as its value has, ${NAME} is replaced in place.
// mayFail is set by the prefix "-".
func Argv(line string, env []string) (argv []string, mayFail bool) {
	for line != "" && strings.ContainsRune("-@:+!", rune(line[0])) {
		mayFail = mayFail || line[0] == '-'
		line = line[1:]
	}
	get := func(k string) string {
		for _, kv := range slices.Backward(env) {
			if v, ok := strings.CutPrefix(kv, k+"="); ok {
				return v
			}
		}
		return ""
	}
	for _, w := range words(line) {
		switch {
		case w == "$$":
			argv = append(argv, "$")
		case len(w) > 1 && w[0] == '$' && w[1] != '{' && w[1] != '$':
			argv = append(argv, words(get(w[1:]))...)
		default:
			argv = append(argv, expand(w, get))
		}
	}
	return argv, mayFail
}

func expand(w string, get func(string) string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(w, '$')
		if i < 0 || i+1 == len(w) {
			return out.String() + w
		}
		out.WriteString(w[:i])
		w = w[i:]
		switch w[1] {
		case '$':
			out.WriteByte('$')
			w = w[2:]
		case '{':
			end := strings.IndexByte(w, '}')
			if end < 0 {
				return out.String() + w
			}
			out.WriteString(get(w[2:end]))
			w = w[end+1:]
		default:
			out.WriteByte('$')
			w = w[1:]
		}
	}
}
