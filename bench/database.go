package main

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// publication is the name of the one that every scenario's tables are in.
const publication = "bench"

// database is a throwaway server with one database. Everybody reaches it over
// TCP, tidemark and its rivals alike.
type database struct {
	server *pgtest.Server
	dsn    string
	admin  *pgx.Conn
	counts bool // statements, by role
}

// openDatabase starts a server with Postgres's own settings for durability,
// which the servers of tests do without, and runs SQL in a new database.
func openDatabase(ctx context.Context, s *sitting, settings map[string]string, sql ...string) (_ *database, err error) {
	all := map[string]string{
		"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "shared_buffers": "512MB",
	}
	maps.Copy(all, settings)
	server, err := pgtest.Open(ctx, pgtest.Options{TCP: true, Settings: all})
	if err != nil {
		return nil, err
	}
	db := &database{server: server}
	defer func() {
		if err != nil {
			db.close()
		}
	}()
	first, err := pgx.Connect(ctx, server.DSN("postgres"))
	if err != nil {
		return nil, err
	}
	defer first.Close(ctx)
	var version string
	if err := first.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&version); err != nil {
		return nil, err
	}
	s.say("postgres  %s, fsync %s, over TCP", version, all["fsync"])
	if _, err := first.Exec(ctx, "CREATE DATABASE bench"); err != nil {
		return nil, err
	}
	db.dsn = server.DSN("bench")
	if db.admin, err = pgx.Connect(ctx, db.dsn); err != nil {
		return nil, err
	}
	return db, db.exec(ctx, sql...)
}

// becomeApplication makes a session that of the application, whose statements
// are told from tidemark's by its role.
const becomeApplication = "SET SESSION AUTHORIZATION application"

// openCounted opens a database that counts statements, where the server has
// what it takes, and in which there is the role of an application.
func openCounted(ctx context.Context, s *sitting, settings map[string]string, sql ...string) (*database, error) {
	counting := map[string]string{"shared_preload_libraries": "pg_stat_statements", "pg_stat_statements.max": "10000"}
	maps.Copy(counting, settings)
	sql = append(sql, "CREATE ROLE application", "GRANT ALL ON ALL TABLES IN SCHEMA public TO application")
	db, err := openDatabase(ctx, s, counting, append([]string{"CREATE EXTENSION pg_stat_statements"}, sql...)...)
	if err == nil {
		db.counts = true
	} else {
		s.say("          without pg_stat_statements: %v", err)
		if db, err = openDatabase(ctx, s, settings, sql...); err != nil {
			return nil, err
		}
	}
	if err := db.settle(ctx); err != nil {
		db.close()
		return nil, err
	}
	return db, nil
}

// application opens a session as the application.
func (db *database) application(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, db.dsn)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, becomeApplication); err != nil {
		_ = conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// queries returns how many queries that name one of some tables Postgres has
// counted, but for the application's own.
func (db *database) queries(ctx context.Context, tables ...string) (n float64, err error) {
	if !db.counts {
		return 0, nil
	}
	err = db.admin.QueryRow(ctx, `SELECT coalesce(sum(calls), 0)::float8 FROM pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid
		WHERE r.rolname <> 'application' AND query ~* '^\s*(select|with)' AND query ~ $1`, `\m(`+strings.Join(tables, "|")+`)\M`).Scan(&n)
	return n, err
}

// exec runs statements as the superuser, each by itself.
func (db *database) exec(ctx context.Context, sql ...string) error {
	for _, text := range sql {
		if _, err := db.admin.Exec(ctx, text); err != nil {
			return fmt.Errorf("%w\nin: %s", err, text)
		}
	}
	return nil
}

// text returns the one value of a query.
func (db *database) text(ctx context.Context, sql string, args ...any) (out string, err error) {
	err = db.admin.QueryRow(ctx, sql, args...).Scan(&out)
	return out, err
}

// pool opens connections, all of them at once.
func (db *database) pool(ctx context.Context, size int) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(db.dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns, config.MinConns = int32(size), int32(size)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := until(ctx, func() bool { return pool.Stat().IdleConns() == int32(size) }); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// settle makes the server finish what the loading of data left to do, so that it
// does not do so in somebody's turn.
func (db *database) settle(ctx context.Context) error {
	return db.exec(ctx, "VACUUM ANALYZE", "CHECKPOINT")
}

func (db *database) close() {
	if db.admin != nil {
		_ = db.admin.Close(context.Background())
	}
	_ = db.server.Close() // the watchdog removes what it could not
}
