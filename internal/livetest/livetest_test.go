// Package livetest holds what followers receive against Postgres, with the
// clients that people use: @electric-sql/client from npm, unchanged, in Node, and
// the page of examples/live in a real Chromium.
//
// The server is a process of its own, this test binary started anew, so that it
// can be killed. One writer changes the database, and after each of its
// transactions every view that somebody follows is read from Postgres. Whatever
// a client holds when it has been told that it is up to date has to be one of
// these states, never an earlier one than before, and in the end the last.
//
// Node, npm and Chromium are needed. Without them tests are skipped, unless
// TIDEMARK_REQUIRE_PG=1.
package livetest

import (
	"context"
	"io"
	"os"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/cli"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// commandEnv makes this binary the command tidemark.
const commandEnv = "TIDEMARK_LIVETEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" {
		os.Exit(command())
	}
	pgtest.Main(m)
}

// command is the whole life of a child. It ends with its parent, whose end
// closes its standard input.
func command() int {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	return cli.Run(context.Background(), os.Args[1:], nil, os.Stdout, os.Stderr, os.Environ())
}
