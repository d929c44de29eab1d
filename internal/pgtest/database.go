package pgtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Database is one database of a server. Its methods may be called by several goroutines.
type Database struct {
	Server *Server
	Name   string

	mu   sync.Mutex
	conn *pgx.Conn // of Exec; opened when first needed
}

var databases atomic.Int64

// DB makes an empty database on the shared server, and drops it with its replication slots when the
// test ends. It has the skip rule of Start.
func DB(t testing.TB) *Database {
	t.Helper()
	return Shared(t).DB(t)
}

// DB makes an empty database on this server, and drops it with its replication slots when the test
// ends.
func (s *Server) DB(t testing.TB) *Database {
	t.Helper()
	d := &Database{Server: s, Name: databaseName(t.Name())}
	// Copying files beats logging every page of them; template0 has no visitors to wait for.
	sql := "CREATE DATABASE " + quote(d.Name) + " TEMPLATE template0"
	if s.version >= 15 {
		sql += " STRATEGY file_copy"
	}
	if err := s.admin("postgres", func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	}); err != nil {
		t.Fatalf("create database: %v", err)
	}
	t.Cleanup(func() {
		if err := d.drop(); err != nil {
			t.Errorf("drop database %s: %v", d.Name, err)
		}
	})
	return d
}

// databaseName tells in pg_stat_activity and in the log which test it was.
func databaseName(test string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '_'
	}, test)
	return fmt.Sprintf("t%d_%.40s", databases.Add(1), name)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

const (
	// adminTimeout bounds the making and dropping of a database on a busy machine.
	adminTimeout = 60 * time.Second
	// execTimeout bounds what a test runs, so that a statement that waits for a lock is named.
	execTimeout = 5 * time.Minute
)

// admin runs f as superuser.
func (s *Server) admin(database string, f func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	// A test may have left the server waiting for a standby that does not exist.
	conn, err := pgx.Connect(ctx, s.socketDSN("postgres", database)+"&synchronous_commit=local")
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, conn), conn.Close(ctx))
}

// drop removes what would keep the database from being dropped, and then the database. On a server
// that is stopped or closed there is nothing to do: it goes with its folder.
func (d *Database) drop() error {
	d.mu.Lock()
	if d.conn != nil {
		_ = d.conn.Close(context.Background())
	}
	d.mu.Unlock()
	if d.Server.PID() == 0 {
		return nil
	}
	if err := d.rollbackPrepared(); err != nil {
		return err
	}
	return d.Server.admin("postgres", func(ctx context.Context, conn *pgx.Conn) error {
		if err := dropSlots(ctx, conn, d.Name); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(d.Name)+" WITH (FORCE)")
		return err
	})
}

// dropSlots ends the walsenders of a database's slots until each slot could be dropped: one that has
// been told to end holds its slot for a moment longer, and its client may come back.
func dropSlots(ctx context.Context, conn *pgx.Conn, database string) error {
	for {
		var left int
		err := conn.QueryRow(ctx, `
			select count(*) from (
				select case when active_pid is not null then pg_terminate_backend(active_pid) end
				from pg_replication_slots where database = $1) s`, database).Scan(&left)
		if err != nil {
			return fmt.Errorf("end walsenders: %w", err)
		}
		if left == 0 {
			return nil
		}
		if _, err := conn.Exec(ctx, `
			select pg_drop_replication_slot(slot_name)
			from pg_replication_slots where database = $1 and active_pid is null`, database); err != nil && !slotBusy(err) {
			return fmt.Errorf("drop slots: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drop slots: %w", ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// rollbackPrepared ends prepared transactions, which only their own database can do.
func (d *Database) rollbackPrepared() error {
	var gids []string
	if err := d.Server.admin("postgres", func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, "select gid from pg_prepared_xacts where database = $1", d.Name)
		if err != nil {
			return err
		}
		gids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}); err != nil || len(gids) == 0 {
		return err
	}
	return d.Server.admin(d.Name, func(ctx context.Context, conn *pgx.Conn) error {
		for _, gid := range gids {
			if _, err := conn.Exec(ctx, "ROLLBACK PREPARED '"+strings.ReplaceAll(gid, "'", "''")+"'"); err != nil {
				return err
			}
		}
		return nil
	})
}

// DSN is a URL for the superuser; see Server.DSN.
func (d *Database) DSN() string { return d.Server.DSN(d.Name) }

// UserDSN is DSN for another role.
func (d *Database) UserDSN(user string) string { return d.Server.UserDSN(user, d.Name) }

// Exec runs SQL and fails the test on an error. Without arguments it may be several statements,
// which are one transaction unless they say otherwise. Calls take turns on one connection.
func (d *Database) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	// Not t.Context(): that ends before the clean-ups of the test run.
	ctx, cancel := context.WithTimeout(context.Background(), execTimeout)
	defer cancel()
	// A restart of the server since the last call is no reason to fail.
	if d.conn != nil && d.conn.Ping(ctx) != nil {
		_ = d.conn.Close(context.Background())
		d.conn = nil
	}
	if d.conn == nil {
		conn, err := pgx.Connect(ctx, d.Server.socketDSN("postgres", d.Name))
		if err != nil {
			t.Fatal(err)
		}
		d.conn = conn
	}
	if _, err := d.conn.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%v\nin: %s", err, sql)
	}
}

// Conn opens a connection and closes it when the test ends.
func (d *Database) Conn(t testing.TB) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), adminTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, d.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Pool opens a pool and closes it when the test ends. A connection that is still acquired then is a
// failure of the test.
func (d *Database) Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), d.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		select {
		case <-closed:
		case <-time.After(10 * time.Second):
			t.Errorf("%d connections of the pool were never released", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

func slotBusy(err error) bool {
	var e *pgconn.PgError
	// 55006: a client took it between the two statements. 42704: a temporary one that is gone.
	return errors.As(err, &e) && (e.Code == "55006" || e.Code == "42704")
}
