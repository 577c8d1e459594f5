// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"strings"
)

// Width of a terminal that everything fits, in columns.
const Width = 80

// Colour is one of a terminal, as SGR parameter; Plain is none.
// Source: ECMA-48 section 8.3.117.
type Colour string

// The colours there are.
const (
	Plain  Colour = ""
	Red    Colour = "31"
	Green  Colour = "32"
	Yellow Colour = "33"
	Cyan   Colour = "36"
)

// Page collects lines. The zero value is empty and without colour.
type Page struct {
	// Colour is set for a terminal that has colours.
	Colour bool

	b strings.Builder
}

// Line adds one line, without the spaces at its end.
func (p *Page) Line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// String is everything until now.
func (p *Page) String() string { return p.b.String() }

// Paint gives a colour to text that has its final width.
func (p *Page) Paint(c Colour, text string) string {
	if !p.Colour || c == Plain {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// Mark returns a word of fixed width, red if it is bad.
func (p *Page) Mark(word string, width int, bad bool) string {
	word = fmt.Sprintf("%-*s", width, word)
	if bad {
		return p.Paint(Red, word)
	}
	return word
}

// Fold adds text after a head, and its further lines after an indent.
func (p *Page) Fold(head, indent, text string) {
	for i, l := range Wrap(text, Width-max(len(head), len(indent))) {
		p.Line("%s%s", []string{head, indent}[min(i, 1)], l)
	}
}

// Wrap breaks text between words so that no line is wider than width.
func Wrap(text string, width int) []string {
	var out []string
	line := ""
	for w := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = w
		case len(line)+1+len(w) <= width:
			line += " " + w
		default:
			out = append(out, line)
			line = w
		}
	}
	if line != "" {
		out = append(out, line)
	}
	return out
}

// Cut keeps the beginning of what is too long: nodes and domains differ there.
func Cut(s string, width int) string {
	if len(s) > width {
		return s[:width-1] + "~"
	}
	return s
}

// CutFront keeps the end of what is too long: pods and pools differ there.
func CutFront(s string, width int) string {
	if len(s) > width {
		return "~" + s[len(s)-width+1:]
	}
	return s
}
