// SPDX-License-Identifier: Apache-2.0

package load_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/magpie-edge/magpie/test/bench/load"
	"github.com/magpie-edge/magpie/test/bench/stage"
)

// TestMain plays the roles of the children, and runs the tests in namespaces.
func TestMain(m *testing.M) {
	hidden, err := stage.Hidden(map[string]stage.Role{load.RoleServe: load.Serve, load.RoleRun: load.Run})
	if !hidden && err == nil {
		hidden, err = stage.Enter(context.Background())
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // how a TestMain ends
	case !hidden:
		os.Exit(m.Run()) //nolint:forbidigo // how a TestMain ends
	}
}

// TestLoad counts each kind over loopback, and shows that a server that is not
// there is an error and not a rate of zero.
func TestLoad(t *testing.T) {
	space, err := stage.NewSpace(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	lo := netip.MustParseAddr("127.0.0.1")
	run := func(k load.Kind) (load.Result, error) {
		c, err := space.Start(t.Context(), load.RoleRun, load.Job{Addr: lo, Kind: k, Time: 200 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Stop()
		var r load.Result
		err = c.Answer(&r)
		return r, err
	}
	if r, err := run(load.RR); err == nil {
		t.Fatalf("no server, and yet %+v", r)
	}
	server, err := space.Start(t.Context(), load.RoleServe, load.Job{Addr: lo})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Stop()
	var ok bool
	if err := server.Answer(&ok); err != nil {
		t.Fatal(err)
	}
	for _, k := range []load.Kind{load.Stream, load.RR, load.CRR} {
		r, err := run(k)
		if err != nil || r.Count == 0 || r.Took < 200*time.Millisecond || r.Took > 5*time.Second {
			t.Errorf("%c: %+v: %v", k, r, err)
		}
		t.Logf("%c: %.3g/s", k, r.PerSecond(k))
	}
}
