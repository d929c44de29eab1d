package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/server"
	"github.com/tidemarkdb/tidemark/internal/setup"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

type serveCmd struct {
	configFlags
	logFlags
}

// logFlags say what is logged; the log goes to standard error.
type logFlags struct {
	LogLevel  string `enum:"debug,info,warn,error" default:"info" help:"Least level that is logged: debug, info, warn or error."`
	LogFormat string `enum:"text,json" default:"text" help:"Format of the log: text or json."`
}

func (f *logFlags) logger(a *app) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(f.LogLevel)) // one of the enum
	options := &slog.HandlerOptions{Level: level}
	if f.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, options))
	}
	return slog.New(slog.NewTextHandler(a.stderr, options))
}

func (c *serveCmd) Run(a *app) error {
	cfg, err := c.load(a)
	if err != nil {
		return err
	}
	ctx, reload, stop := untilSignalled(a.ctx)
	defer stop()
	return serve(ctx, cfg, reload, c.logger(a), a.stdout)
}

// serve runs one server until ctx ends, which is no error. Each value from
// reload asks it to read its endpoint files again. stdout gets a line once both
// addresses are open.
func serve(ctx context.Context, cfg *config.Config, reload <-chan struct{}, log *slog.Logger, stdout io.Writer) error {
	if err := publish(ctx, cfg, log); err != nil {
		return err
	}
	return server.Run(ctx, cfg, server.Options{
		Reload: reload, Log: log,
		Listening: func(at server.Addresses) {
			fmt.Fprintf(stdout, "answers on %s, admin on %s", at.HTTP, at.Admin)
			if at.GRPC != "" {
				fmt.Fprintf(stdout, ", permissions on %s", at.GRPC)
			}
			if at.Gateway != "" {
				fmt.Fprintf(stdout, " and by HTTP on %s", at.Gateway)
			}
			fmt.Fprintln(stdout)
		},
	})
}

// publish creates the publication for the tables that the endpoints read where
// there is none yet, with as little else as possible. One that exists is taken
// as it is: the endpoints' analysis says what it lacks.
func publish(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	conn, err := connect(ctx, cfg)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", cfg.Publication).Scan(&exists)
	if err != nil || exists {
		return err
	}
	endpoints, problems, err := analyse(ctx, conn, cfg, false)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return &tenant.ProblemsError{Problems: problems}
	}
	in, err := requirements(ctx, conn, cfg, endpoints)
	if err != nil {
		return err
	}
	in.ReplicaIdentity = setup.Keep
	report, err := setup.Inspect(ctx, conn, in)
	if err != nil {
		return err
	}
	log.Info("the publication does not exist yet: setting the database up", "publication", cfg.Publication)
	_, err = setup.Apply(ctx, conn, report, setup.Patience{}, func(s setup.Step, status setup.Status, detail string) {
		log.Info("set up", "step", s.ID, "status", string(status), "detail", detail)
	})
	if errors.Is(err, setup.ErrIncomplete) {
		return hinted{err, "run tidemark init as a role that may do it, such as the tables' owner; tidemark doctor lists what is missing"}
	}
	return err
}
