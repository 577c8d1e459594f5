// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"encoding/json"
	"fmt"
)

// fileVersion changes when a reader of the last version could misread a file.
const fileVersion = 1

// file is the form of /var/lib/magpie/fleet.json.
type file struct {
	Version int  `json:"version"`
	View    View `json:"view"`
}

// Marshal returns the View as the bytes of a fleet.json. Equal Views give
// equal bytes.
func Marshal(v View) ([]byte, error) {
	b, err := json.MarshalIndent(file{Version: fileVersion, View: v}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode view: %w", err)
	}
	return append(b, '\n'), nil
}

// Unmarshal reads what Marshal wrote. The View comes back marked stale: what
// was saved may no longer be so.
func Unmarshal(b []byte) (View, error) {
	var f file
	if err := json.Unmarshal(b, &f); err != nil {
		return View{}, fmt.Errorf("decode view: %w", err)
	}
	if f.Version != fileVersion {
		return View{}, fmt.Errorf("decode view: file version %d, want %d", f.Version, fileVersion)
	}
	f.View.Stale = true
	return f.View, nil
}
