package server

import (
	"log/slog"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// liveOptions are what a tenant needs for following, or nil where the
// configuration names no folder for it.
func liveOptions(cfg *config.Config) *tenant.LiveOptions {
	if cfg.Live.Dir == "" {
		return nil
	}
	return &tenant.LiveOptions{
		Dir: cfg.Live.Dir, Tables: cfg.Live.Tables, MaxLog: cfg.Live.MaxLog, ChunkSize: int(cfg.Live.ChunkSize),
		AllowDelete: cfg.Live.AllowDelete,
	}
}

// newLiveFace returns what serves those who follow.
func newLiveFace(cfg *config.Config, t *tenant.Tenant, log *slog.Logger) *liveapi.Handler {
	return liveapi.New(liveapi.Options{
		Host: t.LiveHost(), Tables: t.Tables(), Answers: t.Answers(),
		Secrets: cfg.Live.Secrets, AccountKey: string(cfg.Live.AccountKey), AllowDelete: cfg.Live.AllowDelete,
		Explain: explain, Logger: log,
	})
}

// explain tells a follower of an error as a reader is told of it. Turning away is
// for no log: it comes in thousands.
func explain(err error) (p liveapi.Problem, ours bool) {
	p = liveapi.Problem(httpapi.ProblemOf(err))
	return p, p.Status >= 500 && p.RetryAfter == 0
}
