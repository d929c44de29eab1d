// Package demo runs the shop sample with everything around it: a throwaway
// Postgres, its data, a writer, and the server. It can also check by itself
// that what is served is what Postgres says.
//
// Run owns all that it starts and removes it before it returns.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/tidemarkdb/tidemark/examples"
	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/setup"
)

// Serve runs a server until its context ends.
type Serve func(ctx context.Context, cfg *config.Config, reload <-chan struct{}, log *slog.Logger, stdout io.Writer) error

// Options say what the demo does.
type Options struct {
	Serve   Serve
	Check   bool    // check and return, instead of running until the context ends
	Install bool    // install Postgres where there is none
	Rate    float64 // transactions a second of the writer; 0 means none
	Stdout  io.Writer
	Logger  *slog.Logger
}

// startTimeout bounds the start of the server.
const startTimeout = time.Minute

// Run runs the demo. Without Check it returns when the context ends, and that
// is no error.
func Run(ctx context.Context, o Options) error {
	say := func(format string, args ...any) { fmt.Fprintf(o.Stdout, format+"\n", args...) }
	if _, err := pgtest.Binaries(); errors.Is(err, pgtest.ErrNoBinaries) && o.Install {
		if _, err := pgtest.Install(ctx, o.Stdout); err != nil {
			return err
		}
	}
	start := time.Now()
	server, err := pgtest.Open(ctx, pgtest.Options{
		TCP: true,
		// As a production server would have it, so that nothing is flattered.
		Settings: map[string]string{"max_slot_wal_keep_size": "1GB"},
	})
	if err != nil {
		return err
	}
	defer func() {
		if err := server.Close(); err != nil {
			o.Logger.Warn("the throwaway server did not stop cleanly", "err", err)
		}
	}()
	say("%-44s %6s", fmt.Sprintf("Postgres %d, to be thrown away", server.Version()), since(start))

	conn, err := makeDatabase(ctx, server)
	if err != nil {
		return ended(ctx, err)
	}
	defer closeConn(conn)
	if err := Load(ctx, conn, func(step string, took time.Duration) {
		say("%-44s %6s", step, took.Round(time.Millisecond))
	}); err != nil {
		return ended(ctx, err)
	}
	start = time.Now()
	if err := prepare(ctx, conn); err != nil {
		return ended(ctx, err)
	}
	say("%-44s %6s", "publication and token function", since(start))

	dir, err := os.MkdirTemp("", "tidemark-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cfg, err := configure(dir, server.DSN(database), o, say)
	if err != nil {
		return err
	}
	return ended(ctx, run(ctx, o, cfg, conn, say))
}

// run starts the server and the writer, and then checks or waits.
func run(ctx context.Context, o Options, cfg *config.Config, conn *pgx.Conn, say func(string, ...any)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := o.Serve(ctx, cfg, nil, o.Logger, io.Discard); err != nil {
			return fmt.Errorf("serve: %w", err)
		}
		if ctx.Err() == nil {
			return errors.New("the server ended by itself")
		}
		return nil
	})
	g.Go(func() error {
		start := time.Now()
		if err := awaitReady(ctx, cfg); err != nil {
			return err
		}
		say("%-44s %6s", "server on "+baseURL(cfg), since(start))
		if o.Check {
			defer cancel()
			return check(ctx, cfg, conn, o.Stdout)
		}
		printInvitation(o.Stdout, cfg)
		if o.Rate > 0 {
			return Writer(ctx, conn, o.Rate)
		}
		<-ctx.Done()
		return nil
	})
	return g.Wait()
}

// database is the name of the shop's database.
const database = "shop"

func makeDatabase(ctx context.Context, server *pgtest.Server) (*pgx.Conn, error) {
	admin, err := pgx.Connect(ctx, server.DSN("postgres"))
	if err != nil {
		return nil, err
	}
	defer closeConn(admin)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+database); err != nil {
		return nil, err
	}
	return pgx.Connect(ctx, server.DSN(database))
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// prepare does what "tidemark init" does.
func prepare(ctx context.Context, conn *pgx.Conn) error {
	in := setup.Input{Publication: "tidemark", Slot: "tidemark"}
	for _, name := range []string{"accounts", "users", "orders", "order_lines", "order_events"} {
		in.Tables = append(in.Tables, setup.Table{Schema: "public", Name: name})
	}
	report, err := setup.Inspect(ctx, conn, in)
	if err != nil {
		return err
	}
	_, err = setup.Apply(ctx, conn, report, setup.Patience{}, nil)
	return err
}

// configure writes the sample's files to a folder and reads its configuration
// with the addresses of this run on top.
func configure(dir, dsn string, o Options, say func(string, ...any)) (*config.Config, error) {
	shop, err := fs.Sub(examples.Shop, "shop")
	if err != nil {
		return nil, err
	}
	if err := os.CopyFS(dir, shop); err != nil {
		return nil, err
	}
	flags := map[string]string{"database": dsn}
	for flag, preferred := range map[string]int{"listen.http": 8080, "listen.admin": 8081} {
		if o.Check {
			preferred = 0
		}
		port, err := freePort(preferred)
		if err != nil {
			return nil, err
		}
		if preferred != 0 && port != preferred {
			say("port %d is taken; %s is %d", preferred, flag, port)
		}
		flags[flag] = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	return config.Load(config.Input{File: filepath.Join(dir, config.DefaultFile), Flags: flags})
}

// freePort returns the preferred port of the loopback address if nobody
// listens there, and any free one otherwise.
func freePort(preferred int) (int, error) {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(preferred)))
	if err != nil && preferred != 0 {
		return freePort(0)
	}
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// awaitReady returns when the server says that it is ready.
func awaitReady(ctx context.Context, cfg *config.Config) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errors.New("the server did not become ready"))
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+cfg.Listen.Admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func baseURL(cfg *config.Config) string { return "http://" + cfg.Listen.HTTP }

func since(start time.Time) time.Duration { return time.Since(start).Round(time.Millisecond) }

// ended turns the error of an interrupted step into none.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// printInvitation writes what to try, ready to be copied.
func printInvitation(w io.Writer, cfg *config.Config) {
	admin := ""
	if cfg.Listen.Admin != "127.0.0.1:8081" {
		admin = " --admin http://" + cfg.Listen.Admin
	}
	fmt.Fprintf(w, `
Read an answer, twice: Cache-Status says miss and then hit.
  curl -i %[1]s/v1/orders/34996
  curl -i '%[1]s/v1/accounts/%[2]s/orders?limit=3'

Change it with plain SQL, and take the token of your own write.
  psql '%[3]s' -c "UPDATE orders SET status = 'paid' WHERE id = 34996 RETURNING tidemark.token()"

Ask for nothing older than that write, or for whatever is true now.
  curl -i -H 'Tidemark-Consistency: at_least_as_fresh; token="…"' %[1]s/v1/orders/34996
  curl -i -H 'Tidemark-Consistency: fully_consistent' %[1]s/v1/orders/34996

Follow an answer, or a table, as it changes.
  curl -N -H 'Accept: text/event-stream' '%[1]s/v1/accounts/%[2]s/orders?limit=3'
  curl -N '%[1]s/v1/shape?table=orders&offset=now&live=true&live_sse=true'

Look inside.
  tidemark status%[4]s
  tidemark endpoints%[4]s
  tidemark explain%[4]s /v1/orders/34996
  curl http://%[5]s/metrics

A writer moves orders along in the background. Ctrl-C stops everything and removes it.
`, baseURL(cfg), accountID(54), cfg.Database, admin, cfg.Listen.Admin)
}

// accountID is the id of account n of the sample.
func accountID(n int) string { return fmt.Sprintf("aaaaaaaa-0000-4000-8000-%012d", n) }
