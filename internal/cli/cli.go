// Package cli is the command line: one file for each command.
//
// Run never exits the process and reads its environment only from its
// arguments, so that tests can call it. Commands that look at a running server
// speak HTTP to its admin port and need no configuration; the others read
// tidemark.yaml.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/live/rules"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// The exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

// commands is the grammar. The order is that of the help text.
type commands struct {
	Serve        serveCmd        `cmd:"" help:"Follow the database and serve its endpoints."`
	Demo         demoCmd         `cmd:"" help:"Run everything once: a throwaway Postgres, the shop sample, a writer and the server."`
	Init         initCmd         `cmd:"" help:"Prepare the database: show what it lacks, ask, and add it."`
	Check        checkCmd        `cmd:"" help:"Check the configuration and the endpoints against the database."`
	Doctor       doctorCmd       `cmd:"" help:"Examine the database and the slot, and say what to type."`
	Status       statusCmd       `cmd:"" help:"Show how the server is doing."`
	Endpoints    endpointsCmd    `cmd:"" help:"List the endpoints that are served."`
	Explain      explainCmd      `cmd:"" help:"Show what one answer depends on and what can touch it."`
	Get          getCmd          `cmd:"" help:"Read one answer."`
	Purge        purgeCmd        `cmd:"" help:"Drop cached answers."`
	Audit        auditCmd        `cmd:"" help:"Compare cached answers with the database."`
	Token        tokenCmd        `cmd:"" help:"Show the current token, or look into tokens."`
	Permissions  permissionsCmd  `cmd:"" help:"Validate and try out permissions, and write their schema."`
	ServeTesting serveTestingCmd `cmd:"" help:"Serve permissions from memory, without a database, for tests."`
	Version      versionCmd      `cmd:"" help:"Show the version."`
}

// app is what commands run with.
type app struct {
	ctx            context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

func (a *app) getenv(name string) string {
	for _, kv := range a.environ {
		if n, v, ok := strings.Cut(kv, "="); ok && n == name {
			return v
		}
	}
	return ""
}

// exited carries kong's wish to exit out of its parser.
type exited int

// Run runs one command line, without the program's name, and returns the exit
// code: 0 when done, 1 when it failed, 2 when the command line is wrong.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ []string) (code int) {
	a := &app{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr, environ: environ}
	defer func() {
		switch e := recover().(type) {
		case nil:
		case exited:
			code = int(e)
		default:
			panic(e)
		}
	}()
	var c commands
	parser := kong.Must(&c,
		kong.Name("tidemark"),
		kong.Description("What you derive from Postgres, true to the last commit."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}),
		kong.Bind(a),
	)
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "error: %v\nhint: tidemark --help lists the commands and their flags\n", err)
		return exitUsage
	}
	if err := command.Run(a); err != nil {
		return a.report(err)
	}
	return exitOK
}

// hinted is an error with what to do about it.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// usageError is a command line that parses and makes no sense.
type usageError struct{ error }

// errSilent fails a command that has already said why.
var errSilent = errors.New("failed")

// report writes an error for a person and returns the exit code.
func (a *app) report(err error) int {
	var problems config.Problems
	var endpoints *tenant.ProblemsError
	var mapped mapping.Problems
	var followed rules.Problems
	var h hinted
	var usage usageError
	switch {
	case errors.Is(err, errSilent):
	case errors.As(err, &problems):
		for _, p := range problems {
			fmt.Fprintf(a.stderr, "error: %s\n", p)
		}
	case errors.As(err, &endpoints):
		a.printProblems(endpoints.Problems)
	case errors.As(err, &mapped):
		a.printRules(mapped)
	case errors.As(err, &followed):
		a.printProblems(followed)
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "error: %v\n", err)
		return exitUsage
	default:
		fmt.Fprintf(a.stderr, "error: %v\n", err)
		if errors.As(err, &h) {
			fmt.Fprintf(a.stderr, "hint: %s\n", h.hint)
		}
	}
	return exitError
}
