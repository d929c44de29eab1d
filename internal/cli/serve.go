package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/server"
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
	return server.Run(ctx, cfg, server.Options{
		Reload: reload, Log: log,
		Listening: func(httpAddr, adminAddr string) {
			fmt.Fprintf(stdout, "answers on %s, admin on %s\n", httpAddr, adminAddr)
		},
	})
}
