// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// Exit statuses, documented in docs/reference/magpiectl.md.
const (
	exitNo       = 1 // the question was answered and the answer is no
	exitNoAnswer = 2 // wrong usage, or the cluster could not be asked
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := &env{
		in:     os.Stdin,
		out:    os.Stdout,
		err:    os.Stderr,
		colour: term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == "",
		now:    time.Now, //nolint:forbidigo // the one place where the clock enters
	}
	plugin := strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl-")
	os.Exit(run(ctx, e, plugin, os.Args[1:]))
}

// run executes one command line and returns the exit status.
func run(ctx context.Context, e *env, plugin bool, args []string) int {
	root := newRootCommand(e, plugin)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return exitNo
	default:
		fmt.Fprintf(e.err, "magpiectl: %v\n", explain(err))
		return exitNoAnswer
	}
}
