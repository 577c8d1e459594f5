// SPDX-License-Identifier: Apache-2.0

package world

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// The internet sends what a site with a slow line sends and gets through the
// line's two TUN devices (see Line):
//
//	from the site:   veth SITE --rule up--> SITE.near ~~~ SITE.far --> as usual
//	to the site:     anywhere --rule down-> SITE.far ~~~ SITE.near --> veth SITE
//
// Each site has its numbers for the rules and tables of the internet machine.
func (s Site) number() int {
	return slices.IndexFunc(Sites(), func(o Site) bool { return o.Name == s.Name })
}
func (s Site) tableUp() int   { return 100 + s.number() }
func (s Site) tableDown() int { return 200 + s.number() }

// lineSeed makes runs alike.
const lineSeed = 20260707

// delayScript renders the slow line of one site, or its absence.
func delayScript(s Site, faults []Fault) string {
	unit := "/etc/systemd/system/line-" + s.Name + ".service"
	rule := func(pref int, match, to string) string {
		return fmt.Sprintf("ip rule del pref %[1]d 2>/dev/null || true\n", pref) +
			fmt.Sprintf("ip rule add pref %d %s lookup %s\n", pref, match, to)
	}
	i := slices.IndexFunc(faults, func(f Fault) bool { return f.Kind == "delay" && f.Site == s.Name })
	if i < 0 {
		var b strings.Builder
		fmt.Fprintf(&b, "if [ -e %[1]s ]; then systemctl stop line-%[2]s; rm -f %[1]s; systemctl daemon-reload; fi\n", unit, s.Name)
		for _, pref := range []int{s.number() + 50, s.tableUp(), s.tableDown(), s.tableDown() + 50} {
			fmt.Fprintf(&b, "ip rule del pref %d 2>/dev/null || true\n", pref)
		}
		return b.String()
	}
	f := faults[i]
	l := Line{Site: s.Name, Delay: f.Value, Jitter: f.Jitter, Loss: f.Loss, Seed: lineSeed}
	words, err := json.Marshal(l)
	if err != nil {
		panic(err) // a struct of numbers
	}
	var b strings.Builder
	fmt.Fprintf(&b, `cat > /run/line.new <<'EOF'
[Service]
ExecStart=/lab/bin/magpie-lab %s '%s'
Restart=always
EOF
cmp -s /run/line.new %[3]s || { cp /run/line.new %[3]s; systemctl daemon-reload; systemctl stop line-%[4]s; }
systemctl start line-%[4]s
for i in $(seq 1 100); do [ -n "$(ip route show table %[5]d 2>/dev/null)" ] && break; sleep 0.05; done
ip route show table %[5]d | grep -q .
`, verbLine, words, unit, s.Name, s.tableDown())
	b.WriteString(rule(s.number()+50, "iif "+l.near(), "main"))
	b.WriteString(rule(s.tableUp(), "iif "+s.Name, fmt.Sprint(s.tableUp())))
	b.WriteString(rule(s.tableDown(), "to "+s.WAN, fmt.Sprint(s.tableDown())))
	if s.Block != "" {
		b.WriteString(rule(s.tableDown()+50, "to "+s.Block, fmt.Sprint(s.tableDown())))
	}
	return b.String()
}
