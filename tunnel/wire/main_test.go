// SPDX-License-Identifier: Apache-2.0

package wire_test

import (
	"os"
	"testing"

	"github.com/magpie-edge/magpie/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // how a TestMain ends
