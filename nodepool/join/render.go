// SPDX-License-Identifier: Apache-2.0

package join

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed script/*.sh
var parts embed.FS

// constant is one line of the head of a script.
type constant struct{ name, value string }

// mutable are the constants that an option of the script may change.
var mutable = map[string]bool{"NODE_IP": true, "ALLOW_SWAP": true, "WAIT": true}

// render puts a script together: what it is, the constants, the parts.
func render(what string, constants []constant, names ...string) (string, error) {
	var b strings.Builder
	b.WriteString("#!/usr/bin/env bash\n# SPDX-License-Identifier: Apache-2.0\n# " + what + "\n")
	b.WriteString("# Options: bash -s -- --help\n\nset -euo pipefail\n\n")
	for _, c := range constants {
		if !mutable[c.name] {
			b.WriteString("readonly ")
		}
		b.WriteString(c.name + "=" + quote(c.value) + "\n")
	}
	for _, name := range names {
		text, err := parts.ReadFile("script/" + name + ".sh")
		if err != nil {
			return "", fmt.Errorf("render script: %w", err)
		}
		b.WriteString("\n" + body(string(text)))
	}
	// Standard input may be the script itself: nothing that runs may read it.
	b.WriteString("\nmain \"$@\" </dev/null\n")
	return b.String(), nil
}

// body drops the two lines that only a part by itself needs: the licence and
// the directive for shellcheck.
func body(part string) string {
	for range 2 {
		if _, rest, ok := strings.Cut(part, "\n"); ok {
			part = rest
		}
	}
	return part
}

// quote makes s one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
