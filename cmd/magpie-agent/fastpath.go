// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-edge/magpie/fleet"
	"github.com/magpie-edge/magpie/kernel"
)

// Values of Config.FastPath.
const (
	fastPathAuto = "auto"
	fastPathOff  = "off"
)

// settings are those of the config, with the fast path if this kernel can have
// it. What it lacks becomes a note; nothing depends on it.
func (a *agent) settings() fleet.Settings {
	s := a.config.settings()
	if a.config.FastPath == fastPathOff {
		return s
	}
	if err := kernel.FeatureFastPath.Probe(); err != nil {
		s.FastPathLacks, _, _ = strings.Cut(err.Error(), "\n")
		a.log.Info("no fast path between pods", "err", s.FastPathLacks)
		return s
	}
	s.FastPath = true
	a.vitals.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "magpie_fast_path_packets_total", Help: "Packets that went past the host's IP stack.",
	}, func() float64 {
		n, _ := a.host.FastPathPackets()
		return float64(n)
	}))
	return s
}
