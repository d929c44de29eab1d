package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/live/rules"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/setup"
)

const connectTimeout = 15 * time.Second

// connect opens a connection for a command that looks at the database.
func connect(ctx context.Context, cfg *config.Config) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(cfg.Database)
	if err != nil {
		return nil, errors.New("the connection string does not parse") // its text may hold a password
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "tidemark"
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) {
			return nil, fmt.Errorf("the database refused: %s", pgErr.Message)
		}
		return nil, hinted{
			fmt.Errorf("the database cannot be reached: %s", lastLine(err)),
			"database is " + firstOf(config.RedactDatabase(cfg.Database), "what the PG variables say"),
		}
	}
	return conn, nil
}

func disconnect(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// lastLine is the last of the attempts that a connection error lists.
func lastLine(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

// analyse reads the endpoint files and asks the database about each. Problems
// are those of the files.
func analyse(ctx context.Context, conn *pgx.Conn, cfg *config.Config, published bool) ([]*query.Endpoint, []query.Problem, error) {
	files, problems := query.LoadDir(cfg.Endpoints)
	var endpoints []*query.Endpoint
	for _, f := range files {
		e, found, err := query.Analyze(ctx, conn, f, query.Options{
			Publication: cfg.Publication, SkipPublication: !published, DefaultTTL: cfg.Cache.TTL,
		})
		if err != nil {
			return nil, nil, err
		}
		problems = append(problems, found...)
		if e != nil {
			endpoints = append(endpoints, e)
		}
	}
	return endpoints, problems, nil
}

// tables lists what the endpoints read.
func tables(endpoints []*query.Endpoint) []setup.Table {
	var all []setup.Table
	for _, e := range endpoints {
		for _, t := range e.Tables {
			if name := (setup.Table{Schema: t.Schema, Name: t.Name}); !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// requirements is what the database has to have for a configuration.
func requirements(ctx context.Context, conn *pgx.Conn, cfg *config.Config, endpoints []*query.Endpoint) (setup.Input, error) {
	in := setup.Input{
		Publication: cfg.Publication, Slot: cfg.Slot, Tables: tables(endpoints),
		ReplicaIdentity: setup.ReplicaIdentity(cfg.ReplicaIdentity), Permissions: cfg.Listen.GRPC != "",
	}
	if cfg.Live.Tables != "" {
		f, err := rules.Load(cfg.Live.Tables)
		if err != nil {
			return in, err
		}
		for i := range f.Rules {
			in.Followed = append(in.Followed, setup.Table{Schema: f.Rules[i].Schema, Name: f.Rules[i].Table})
		}
	}
	if !in.Permissions || cfg.Permissions.Mapping == "" {
		return in, nil
	}
	m, err := mapping.Load(cfg.Permissions.Mapping)
	if err != nil {
		return in, err
	}
	for _, r := range m.Rules {
		var t setup.Table
		err := conn.QueryRow(ctx, `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = to_regclass($1)`, r.Table()).Scan(&t.Schema, &t.Name)
		if errors.Is(err, pgx.ErrNoRows) {
			return in, fmt.Errorf("%s:%d: there is no table %s", m.Path, r.Line, r.Table())
		}
		if err != nil {
			return in, err
		}
		if !slices.Contains(in.Mapped, t) {
			in.Mapped = append(in.Mapped, t)
		}
	}
	return in, nil
}

func (a *app) printProblems(problems []query.Problem) {
	for _, p := range problems {
		fmt.Fprintf(a.stderr, "error: %s\n", p)
	}
}

// number writes a count with its noun, whose plural is given where it is not
// made with an s.
func number(n int, noun string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case plural != nil:
		return fmt.Sprintf("%d %s", n, plural[0])
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
