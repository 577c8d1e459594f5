// SPDX-License-Identifier: Apache-2.0

// Package schema makes the schema that helm checks an operator's values with.
//
// # Model
//
//	Values (values.go) --+
//	                     +--Generate--> charts/magpie/values.schema.json
//	cmd/*/config.go -----+
//
// Values is the shape of values.yaml. What ends up in the configuration file of
// a binary says so (+magpie:config=magpie-agent, or =magpie-gateway.Limits for
// a struct in it) and takes its limits and its words from there; the rest is the chart's own and says it here. Limits are
// the markers that custom resources have, too: +kubebuilder:validation:Minimum.
//
// # Why this way
//
// A value that a binary refuses should be refused by helm, before anything is
// installed. Two hand-made lists of the same limits drift apart; so the limit
// stands once, at the field of the struct, and each command's tests hold its
// Validate to it, with Samples. The structs of commands cannot be imported, and comments
// cannot be reflected on: so the source is read.
//
// controller-gen reads the same markers, but makes schemas of custom resources:
// it does not refuse unknown fields, knows no alternatives, and would bring its
// libraries into our module.
//
// # Invariants
//
// An object refuses what it does not name, unless it is a map. An unknown
// marker is an error, and so is a value that differs in type from the field it
// becomes. The file that is checked in is the one that would be made (tested).
//
// # Not here
//
// The values' defaults (charts/magpie/values.yaml), and what helm makes of them
// (charts/magpie/templates, tested by test/chart).
package schema
