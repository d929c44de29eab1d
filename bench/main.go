// Command bench measures tidemark as a whole against what stands in its place:
// an HTTP cache, the database itself, a bare reader of the log.
//
// Every figure that counts is a ratio of two contenders that ran in turns in one
// sitting. The servers are processes of their own, so that what they cost can be
// told from what the load generator costs; this process makes the load, and runs
// itself again for tidemark's side.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// scenario is one thing that is measured.
type scenario struct {
	name, about string
	run         func(context.Context, *sitting) error
}

var scenarios = []scenario{
	{"hit", "cached answers over HTTP, against nginx proxy_cache and against Postgres", runHit},
	{"fully", "fully consistent answers over HTTP, against Postgres", runFully},
	{"visible", "from the commit to the answer, against a loop that only decodes", runVisible},
	{"apply", "rows of the log applied per second, against pg_recvlogical", runApply},
	{"memory", "what an answer takes, against what the store says that it takes", runMemory},
	{"precision", "which answers a write touches, against those that it changes", runPrecision},
	{"storm", "one transaction of 100,000 rows under load, against a quiet while", runStorm},
	{"scale", "a server with a million answers, beside one with a thousand", runScale},
	{"lobsters", "a link board's readers and writers, against Postgres alone", runLobsters},
	{"permissions", "checks, lookups and writes of permissions over gRPC", runPermissions},
	{"live", "followers of tables and endpoints, against a loop that only decodes", runLive},
}

// options are the flags.
type options struct {
	rounds      int
	duration    time.Duration
	connections int
	pin         bool
	results     string
	profiles    string
	rows        int
	answers     int
	commits     int
	install     bool
	short       bool
	server      string
	writes      int
	large       bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && strings.HasPrefix(args[0], childPrefix) {
		return runChild(ctx, args, os.Stdin, stdout, stderr)
	}
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each contender takes its turn")
	flags.DurationVar(&o.duration, "duration", 5*time.Second, "of one turn: hit, fully, lobsters, permissions")
	flags.IntVar(&o.connections, "connections", 64, "clients at a time: hit, fully, lobsters, permissions")
	flags.BoolVar(&o.pin, "pin", true, "keep the load generator on a CPU of its own: hit, fully, lobsters, permissions, live")
	flags.IntVar(&o.rows, "rows", 1_000_000, "of the large transaction: apply")
	flags.IntVar(&o.answers, "answers", 1_000_000, "that are cached: memory, scale")
	flags.IntVar(&o.commits, "commits", 500, "of one turn: visible, live")
	flags.BoolVar(&o.install, "install", true, "install nginx where it is missing, as root with apt-get: hit")
	flags.BoolVar(&o.short, "short", false, "a few seconds of each, to see that it works: precision, storm, scale, lobsters, permissions, live")
	flags.StringVar(&o.server, "server", "", "the tidemark binary to measure; empty: built from this tree: precision, storm, scale, lobsters")
	flags.IntVar(&o.writes, "writes", 20_000, "transactions: precision")
	flags.BoolVar(&o.large, "large", false, "ten million relationships, loaded and checked: permissions")
	flags.StringVar(&o.results, "results", "bench/results", "folder for a copy of what is printed; empty: none; -short: none in this one")
	flags.StringVar(&o.profiles, "profile", "", "folder for CPU profiles, taken in turns that do not count")
	flags.Usage = func() { usage(flags) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.short && o.results == flags.Lookup("results").DefValue {
		o.results = ""
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return err
	}
	if o.large && (len(chosen) != 1 || chosen[0].name != "permissions") {
		return errors.New("-large is of permissions alone")
	}
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return err
		}
	}
	for _, s := range chosen {
		if err := sit(ctx, s, o, args, stdout); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func choose(names []string) ([]scenario, error) {
	if len(names) == 0 || len(names) == 1 && names[0] == "all" {
		return scenarios, nil
	}
	var out []scenario
next:
	for _, name := range names {
		for _, s := range scenarios {
			if s.name == name {
				out = append(out, s)
				continue next
			}
		}
		return nil, fmt.Errorf("there is no scenario %q; -h lists them (flags come first)", name)
	}
	return out, nil
}

func usage(flags *flag.FlagSet) {
	w := flags.Output()
	fmt.Fprintf(w, "usage: go run ./bench [flags] [scenario ...]\n\nscenarios:\n")
	fmt.Fprintf(w, "  %-11s the following, one after the other (default)\n", "all")
	for _, s := range scenarios {
		fmt.Fprintf(w, "  %-11s %s\n", s.name, s.about)
	}
	fmt.Fprintf(w, "\nflags:\n")
	flags.PrintDefaults()
}
