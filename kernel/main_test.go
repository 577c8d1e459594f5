// SPDX-License-Identifier: Apache-2.0

package kernel_test

import (
	"os"
	"testing"

	"github.com/magpie-edge/magpie/kernel"
	"github.com/magpie-edge/magpie/test/sandbox"
)

func TestMain(m *testing.M) { os.Exit(sandbox.Main(m)) } //nolint:forbidigo // how a TestMain ends

// newHost opens the door into a network namespace of the test's own, called
// "host".
func newHost(tb testing.TB, o kernel.Options) *kernel.Host {
	tb.Helper()
	o.Namespace = sandbox.Namespace(tb, "host")
	h, err := kernel.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { h.Close() }) // the namespace goes away
	return h
}
