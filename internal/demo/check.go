package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/examples"
	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/query"
)

// samples has one path for each endpoint whose answers only rows can change.
var samples = []struct{ endpoint, path string }{
	{"account", "/v1/accounts/" + accountID(54)},
	{"user", "/v1/users/bbbbbbbb-0000-4000-8000-000000000042"},
	{"account_users", "/v1/accounts/" + accountID(54) + "/users?active=true&role=admin"},
	{"user_search", "/v1/accounts/" + accountID(54) + "/user-search?prefix=Dar"},
	{"account_orders", "/v1/accounts/" + accountID(54) + "/orders?limit=5"},
	{"orders_between", "/v1/accounts/" + accountID(54) + "/orders-between?from=2025-12-01T00:00:00Z&until=2026-01-01T00:00:00Z"},
	{"orders_by_id", "/v1/orders?ids={34996,34997,34998}"},
	{"order", "/v1/orders/34996"},
	{"order_history", "/v1/orders/34996/history"},
	{"account_totals", "/v1/accounts/" + accountID(54) + "/totals"},
	{"account_revenue", "/v1/accounts/" + accountID(54) + "/revenue"},
	{"product_sales", "/v1/products/SKU-003/sales"},
	{"waiting_accounts", "/v1/accounts-waiting"},
}

// watched is the sample that the written row, order 34996, changes.
const watched = "/v1/orders/34996"

// The consistency levels, as requests ask for them.
const (
	minimizeLatency = "minimize_latency"
	fullyConsistent = "fully_consistent"
	atLeastAsFresh  = "at_least_as_fresh"
	atExactSnapshot = "at_exact_snapshot"
)

// settleTimeout is how long minimize_latency may take to show a write.
const settleTimeout = 10 * time.Second

// checker reads over HTTP and asks Postgres the same.
type checker struct {
	base  string
	conn  *pgx.Conn
	files map[string]*query.File
	w     io.Writer
	// compared counts answers that were held against Postgres, hits those of
	// them that came from the cache.
	compared, hits int
}

// check reads, writes with plain SQL and reads again, at all four levels. Every
// answer is compared with what Postgres says to the same SQL.
func check(ctx context.Context, cfg *config.Config, conn *pgx.Conn, w io.Writer) error {
	c := &checker{base: baseURL(cfg), conn: conn, w: w}
	if err := c.prepare(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{c.everyEndpoint, c.everyLevel, c.underWrites} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if c.hits == 0 {
		return errors.New("no answer came from the cache")
	}
	fmt.Fprintf(w, "\n%d answers compared, %d of them from the cache: each the same, byte for byte, as what Postgres says\n", c.compared, c.hits)
	return nil
}

// prepare reads the endpoint files and makes the connection show values as a
// session of the server does.
func (c *checker) prepare(ctx context.Context) error {
	for _, s := range query.Settings() {
		if _, err := c.conn.Exec(ctx, "SELECT set_config($1, $2, false)", s.Name, s.Value); err != nil {
			return err
		}
	}
	names, err := fs.Glob(examples.Shop, "shop/endpoints/*.sql")
	if err != nil {
		return err
	}
	c.files = make(map[string]*query.File)
	for _, name := range names {
		text, err := examples.Shop.ReadFile(name)
		if err != nil {
			return err
		}
		f, problems := query.ParseFile(name, text)
		if f == nil {
			return problems[0]
		}
		c.files[f.Name] = f
	}
	return nil
}

// everyEndpoint reads each sample twice: from Postgres, then from the cache.
func (c *checker) everyEndpoint(ctx context.Context) error {
	fmt.Fprintf(c.w, "\n%-20s %9s %9s %9s  %s\n", "endpoint", "bytes", "first", "second", "second came from")
	for _, s := range samples {
		want, err := c.oracle(ctx, s.endpoint, s.path)
		if err != nil {
			return err
		}
		first, err := c.read(ctx, s.path, minimizeLatency, want)
		if err != nil {
			return err
		}
		second, err := c.read(ctx, s.path, minimizeLatency, want)
		if err != nil {
			return err
		}
		from := "Postgres"
		if second.hit {
			from = "the cache"
		}
		fmt.Fprintf(c.w, "%-20s %9d %9s %9s  %s\n", s.endpoint, len(want), brief(first.took), brief(second.took), from)
		if !second.hit {
			return fmt.Errorf("%s: the second read did not come from the cache: %s", s.path, second.cacheStatus)
		}
	}
	return nil
}

// everyLevel changes one order three times and reads it at each level.
func (c *checker) everyLevel(ctx context.Context) error {
	fmt.Fprintf(c.w, "\n%-20s %9s  %s\n", "level", "took", "what was seen")
	var before string // a token of the state before the first write
	if err := c.conn.QueryRow(ctx, "SELECT tidemark.token()").Scan(&before); err != nil {
		return err
	}
	old, err := c.oracle(ctx, "order", watched)
	if err != nil {
		return err
	}

	token, err := c.write(ctx, "paid")
	if err != nil {
		return err
	}
	if err := c.level(ctx, atLeastAsFresh+quoted(token), "its own write, by the token that the UPDATE returned"); err != nil {
		return err
	}
	if _, err := c.write(ctx, "shipped"); err != nil {
		return err
	}
	if err := c.level(ctx, fullyConsistent, "the newest write, without any token"); err != nil {
		return err
	}
	r, err := c.read(ctx, watched, atExactSnapshot+quoted(before), old)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.w, "%-20s %9s  %s\n", atExactSnapshot, brief(r.took), "the order as it was before both writes")

	if _, err := c.write(ctx, "delivered"); err != nil {
		return err
	}
	start := time.Now()
	want, err := c.oracle(ctx, "order", watched)
	if err != nil {
		return err
	}
	for {
		r, err := c.request(ctx, watched, minimizeLatency)
		if err != nil {
			return err
		}
		if bytes.Equal(r.body, want) {
			break
		}
		if time.Since(start) > settleTimeout {
			return fmt.Errorf("%s: %s after a write the answer is still %s", watched, settleTimeout, r.body)
		}
	}
	fmt.Fprintf(c.w, "%-20s %9s  %s\n", minimizeLatency, brief(time.Since(start)), "the newest write, as soon as the log brought it")
	return nil
}

// level reads the watched order twice at a level that must show what Postgres
// shows now.
func (c *checker) level(ctx context.Context, level, seen string) error {
	want, err := c.oracle(ctx, "order", watched)
	if err != nil {
		return err
	}
	r, err := c.read(ctx, watched, level, want)
	if err != nil {
		return err
	}
	name, _, _ := strings.Cut(level, ";")
	fmt.Fprintf(c.w, "%-20s %9s  %s\n", name, brief(r.took), seen)
	if r, err = c.read(ctx, watched, level, want); err != nil {
		return err
	}
	from := "asked Postgres for the answer"
	if r.hit {
		from = "from the cache"
	}
	fmt.Fprintf(c.w, "%-20s %9s  %s\n", "  again", brief(r.took), from)
	return nil
}

// underWrites lets the writer work at speed, stops it, and reads everything
// once more, several rounds.
func (c *checker) underWrites(ctx context.Context) error {
	const rounds, rate = 3, 200
	w, err := pgx.ConnectConfig(ctx, c.conn.Config())
	if err != nil {
		return err
	}
	defer closeConn(w)
	before, during, hits := c.compared, 0, 0
	for range rounds {
		writing, stop := context.WithTimeout(ctx, 500*time.Millisecond)
		done := make(chan error, 1)
		go func() { done <- Writer(writing, w, rate) }()
		for writing.Err() == nil { // keeps the cache busy while rows change
			for _, s := range samples {
				r, err := c.request(ctx, s.path, minimizeLatency)
				if err != nil {
					stop()
					<-done
					return err
				}
				during++
				if r.hit {
					hits++
				}
			}
		}
		stop()
		if err := <-done; err != nil {
			return err
		}
		for _, s := range samples {
			want, err := c.oracle(ctx, s.endpoint, s.path)
			if err != nil {
				return err
			}
			if _, err := c.read(ctx, s.path, fullyConsistent, want); err != nil {
				return err
			}
		}
		if w.IsClosed() { // the end of its time may have cut a statement short
			if w, err = pgx.ConnectConfig(ctx, c.conn.Config()); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(c.w, "\n%d bursts of writes: %d reads meanwhile, %d%% of them from the cache; then %d at %s\n",
		rounds, during, 100*hits/max(during, 1), c.compared-before, fullyConsistent)
	return nil
}

// write gives the watched order another status with plain SQL.
func (c *checker) write(ctx context.Context, status string) (token string, err error) {
	err = c.conn.QueryRow(ctx, "UPDATE orders SET status = $1, updated_at = now() WHERE id = 34996 RETURNING tidemark.token()", status).Scan(&token)
	return token, err
}

func quoted(token string) string { return fmt.Sprintf("; token=%q", token) }

type reply struct {
	body        []byte
	cacheStatus string
	hit         bool
	took        time.Duration
}

// read requests a path and compares the answer.
func (c *checker) read(ctx context.Context, path, level string, want []byte) (reply, error) {
	r, err := c.request(ctx, path, level)
	if err != nil {
		return r, err
	}
	if !bytes.Equal(r.body, want) {
		return r, fmt.Errorf("%s at %s:\nserved   %s\nPostgres %s", path, level, r.body, want)
	}
	c.compared++
	if r.hit {
		c.hits++
	}
	return r, nil
}

func (c *checker) request(ctx context.Context, path, level string) (reply, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Tidemark-Consistency", level)
	start := time.Now()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	r := reply{cacheStatus: resp.Header.Get("Cache-Status")}
	if r.body, err = io.ReadAll(resp.Body); err != nil {
		return r, err
	}
	r.took = time.Since(start)
	r.hit = strings.Contains(r.cacheStatus, "; hit")
	if resp.StatusCode != http.StatusOK {
		return r, fmt.Errorf("%s at %s: %s: %s", path, level, resp.Status, bytes.TrimSpace(r.body))
	}
	if resp.Header.Get("Tidemark-Token") == "" {
		return r, fmt.Errorf("%s at %s: the response has no Tidemark-Token", path, level)
	}
	return r, nil
}

// oracle asks Postgres for the answer with the endpoint's own SQL.
func (c *checker) oracle(ctx context.Context, endpoint, path string) ([]byte, error) {
	f := c.files[endpoint]
	args, err := arguments(f, path)
	if err != nil {
		return nil, err
	}
	r := c.conn.PgConn().ExecParams(ctx, "SELECT row_to_json(answer)::text FROM (\n"+f.SQL+"\n) answer", args, nil, nil, nil).Read()
	if r.Err != nil {
		var pgErr *pgconn.PgError
		if errors.As(r.Err, &pgErr) {
			return nil, fmt.Errorf("ask Postgres for %s: %s", path, pgErr.Message)
		}
		return nil, r.Err
	}
	rows := make([][]byte, len(r.Rows))
	for i, row := range r.Rows {
		rows[i] = row[0]
	}
	body := bytes.Join(rows, []byte(","))
	if f.One {
		return body, nil
	}
	return append(append([]byte("["), body...), ']'), nil
}

// arguments takes the values of $1, $2 … from a path and its query.
func arguments(f *query.File, path string) ([][]byte, error) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, err
	}
	values := u.Query()
	parts := strings.Split(u.Path, "/")[1:]
	if len(parts) != len(f.Route.Segments) {
		return nil, fmt.Errorf("%s is not a path of %s", path, f.Name)
	}
	for i, s := range f.Route.Segments {
		if s.Param != "" {
			values.Set(s.Param, parts[i])
		}
	}
	args := make([][]byte, len(f.Params))
	for i, name := range f.Params {
		if values.Has(name) {
			args[i] = []byte(values.Get(name))
		}
	}
	return args, nil
}

// brief rounds a duration to what a reader can use.
func brief(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return d.Round(time.Microsecond)
	}
	return d.Round(10 * time.Microsecond)
}
