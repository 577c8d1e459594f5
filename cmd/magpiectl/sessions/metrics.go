// SPDX-License-Identifier: Apache-2.0

package sessions

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Names of metrics of magpie-gateway. Source: docs/reference/metrics.md.
const (
	metricExpiry   = "magpie_tunnel_certificate_expiry_timestamp_seconds"
	metricRefusals = "magpie_tunnel_refusals_total"
)

var codeLabel = regexp.MustCompile(`code="([^"]*)"`)

// readMetrics takes from the text of /metrics what /sessions does not say.
// Source: prometheus.io/docs/instrumenting/exposition_formats.
func readMetrics(text string, into *Instance) {
	for line := range strings.Lines(text) {
		at := strings.LastIndexByte(strings.TrimSpace(line), ' ')
		if at < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line)[at+1:], 64)
		if err != nil {
			continue
		}
		name, labels, _ := strings.Cut(line[:at], "{")
		switch name {
		case metricExpiry:
			if value > 0 {
				until := time.Unix(int64(value), 0).UTC()
				into.CertificateUntil = &until
			}
		case metricRefusals:
			if m := codeLabel.FindStringSubmatch(labels); m != nil {
				into.Refused[m[1]] += int64(value)
			}
		}
	}
}
