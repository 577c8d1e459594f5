// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/magpie-edge/magpie/test/lab"
)

func main() {
	if lab.Hidden() {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	code, said := errors.AsType[exitError](err)
	switch {
	case err == nil:
	case said:
		os.Exit(int(code))
	default:
		fmt.Fprintln(os.Stderr, "magpie-lab:", err)
		os.Exit(1)
	}
}
