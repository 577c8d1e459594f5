// SPDX-License-Identifier: Apache-2.0

package walk

import (
	"net/netip"

	"github.com/magpie-edge/magpie/plan"
)

// Filter runs the chains of one hook alone.
func Filter(hook, iif string, p Packet, tables []plan.Table) (string, error) {
	fw, err := parseTables(tables, nil)
	if err != nil {
		return "", err
	}
	o, err := fw.run(hook, &state{packet: p, iif: iif, mine: func(netip.Addr) bool { return false }})
	return string(o.verdict), err
}
