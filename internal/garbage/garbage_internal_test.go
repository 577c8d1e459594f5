// SPDX-License-Identifier: Apache-2.0

package garbage

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestPercent(t *testing.T) {
	for _, c := range []struct{ live, want int }{
		{0, 225},       // before the first collection: 9 MiB are 225% of 4
		{2 << 20, 250}, // at 10 MiB
		{4 << 20, 200}, // at 12 MiB
		{8 << 20, 100},
		{16 << 20, 50},
		{64 << 20, 50},
	} {
		if got := Agent.percent(c.live); got != c.want {
			t.Errorf("%d MiB live: %d%%, want %d%%", c.live>>20, got, c.want)
		}
	}
}

// held is what stays live in the process that TestKeep starts, sink is garbage.
var held, sink [][]byte

// TestKeep counts collections in processes of their own, which make a hundred
// megabytes of garbage beside little and beside much that is live.
func TestKeep(t *testing.T) {
	if mib, ok := os.LookupEnv("GARBAGE_TEST_LIVE"); ok {
		n, err := strconv.Atoi(mib)
		if err != nil {
			t.Fatal(err)
		}
		Agent.Keep()
		for range n {
			held = append(held, make([]byte, 1<<20))
		}
		runtime.GC()
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 << 4 {
			sink = [][]byte{make([]byte, 1<<16)}
			time.Sleep(50 * time.Microsecond) // a collection takes a millisecond
		}
		runtime.ReadMemStats(&after)
		t.Logf("collections: %d.", after.NumGC-before.NumGC)
		return
	}
	t.Parallel()
	for _, c := range []struct {
		live, gogc  string
		least, most int
	}{
		{"1", "", 8, 14}, // each 8 MiB; Go alone would each 2 to 3
		{"40", "", 4, 7}, // each 20 MiB
		{"1", "25", 50, 200},
	} {
		t.Run(c.live+" MiB, GOGC="+c.gogc, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKeep$", "-test.v")
			cmd.Env = append(os.Environ(), "GARBAGE_TEST_LIVE="+c.live, "GOGC="+c.gogc)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			_, rest, _ := strings.Cut(string(out), "collections: ")
			n, err := strconv.Atoi(strings.SplitN(rest, ".", 2)[0])
			if err != nil || n < c.least || n > c.most {
				t.Errorf("%d collections, want %d to %d: %v\n%s", n, c.least, c.most, err, out)
			}
		})
	}
}
