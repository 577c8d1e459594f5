// SPDX-License-Identifier: Apache-2.0

package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Sample is a value at a limit, or one beyond it. The tests of a command hold
// its Validate to the limits of its Config with them.
type Sample struct {
	Field string // its name in YAML
	Limit string // the marker, "Minimum=1"
	JSON  string // an object with this one field
	Good  bool
}

// nonsense fits no pattern and no list of words.
const nonsense = "no such thing"

// Samples returns the samples of all limits from which one can be made, in the
// order of the fields.
func Samples(fields []Field) ([]Sample, error) {
	var out []Sample
	for _, f := range fields {
		for _, mark := range slices.Sorted(maps.Keys(f.Marks)) {
			good, bad, err := samples(mark, f.Marks[mark])
			if err != nil {
				return nil, fmt.Errorf("field %s: %w", f.Name, err)
			}
			limit := mark + "=" + f.Marks[mark]
			out = slices.Concat(out, sample(f.Name, limit, good, true), sample(f.Name, limit, bad, false))
		}
	}
	return out, nil
}

// sample is one Sample, or none if there is no value.
func sample(field, limit string, value any, good bool) []Sample {
	text, err := json.Marshal(value)
	if value == nil || err != nil { // numbers and texts always have a form
		return nil
	}
	return []Sample{{field, limit, fmt.Sprintf("{%q: %s}", field, text), good}}
}

func samples(mark, value string) (good, bad any, err error) {
	switch mark {
	case "Minimum", "Maximum":
		n, err := strconv.Atoi(value)
		if mark == "Minimum" {
			return n, n - 1, err
		}
		return n, n + 1, err
	case "Enum":
		first, _, _ := strings.Cut(value, ";")
		return first, nonsense, nil
	case "Pattern", "items:Pattern":
		if p, err := regexp.Compile(value); err != nil || p.MatchString(nonsense) {
			return nil, nil, fmt.Errorf("pattern %s: %q fits it, or: %w", value, nonsense, err)
		}
		if mark == "Pattern" {
			return nil, nonsense, nil
		}
		return nil, []string{nonsense}, nil
	}
	return nil, nil, nil
}
