// SPDX-License-Identifier: Apache-2.0

// Package crd holds the CustomResourceDefinitions, as generated from the types.
//
// # Model
//
// One YAML file a kind. `go generate ./api/crd` writes them, the deepcopy code
// beside the types, and the same files into the chart.
//
// # Why this way
//
// A command can embed only files below its own folder, and Helm reads CRDs only
// from the chart: so the files exist twice, and a test compares them.
//
// # Invariants
//
// The files are never edited by hand.
//
// # Not here
//
// The types: packages below api.
package crd

import (
	"bytes"
	"embed"
	"fmt"
)

//go:generate go tool -modfile=../../tools/go.mod controller-gen object:headerFile=header.txt paths=../...
//go:generate go tool -modfile=../../tools/go.mod controller-gen crd paths=../... output:crd:dir=.
//go:generate go tool -modfile=../../tools/go.mod controller-gen crd paths=../... output:crd:dir=../../charts/magpie/crds

// Label marks definitions that this project installed, with its name: one without
// it came with OpenYurt or ACK.
const Label = "app.kubernetes.io/part-of"

// Files are the definitions, one a file.
//
//go:embed *.yaml
var Files embed.FS

// All returns the definitions as one YAML stream, in the order of their names.
func All() ([]byte, error) {
	entries, err := Files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("list definitions: %w", err)
	}
	var out bytes.Buffer
	for _, e := range entries {
		b, err := Files.ReadFile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("read definition %s: %w", e.Name(), err)
		}
		out.Write(b)
	}
	return out.Bytes(), nil
}
