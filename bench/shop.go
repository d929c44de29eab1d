package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5/pgxpool"
)

// The database of hit and fully: accounts that are asked for, each with its
// orders and their lines, and some that are only written to.
const (
	shopAsked    = 1000
	shopAccounts = 1100
	shopOrders   = 200 // of each account
)

var shopSchema = []string{
	`CREATE TABLE orders (id int PRIMARY KEY, account_id int NOT NULL, status text NOT NULL, total numeric(10,2) NOT NULL,
		note text NOT NULL, placed_at timestamptz NOT NULL)`,
	fmt.Sprintf(`INSERT INTO orders SELECT n, 1 + n %% %d, (ARRAY['open','paid','sent'])[1 + n %% 3], n %% 977 + 0.5,
		'order number ' || lpad(n::text, 8, '0'), '2026-01-01'::timestamptz + n * interval '1 minute'
		FROM generate_series(0, %d) n`, shopAccounts, shopAccounts*shopOrders-1),
	`CREATE INDEX ON orders (account_id, placed_at DESC, id DESC)`,
	`CREATE TABLE lines (order_id int NOT NULL REFERENCES orders, line int NOT NULL, sku text NOT NULL, quantity int NOT NULL,
		PRIMARY KEY (order_id, line))`,
	`INSERT INTO lines SELECT o.id, l, 'SKU-' || lpad((hashint4(o.id * 3 + l) & 31)::text, 6, '0'), 1 + (o.id + l) % 5
		FROM orders o, generate_series(1, 3) l`,
	`ALTER TABLE orders REPLICA IDENTITY FULL`,
	`ALTER TABLE lines REPLICA IDENTITY FULL`,
	`CREATE PUBLICATION ` + publication + ` FOR TABLE orders, lines`,
}

// question is asked of tidemark over HTTP and of Postgres in SQL. Its answer is
// about 1 KiB of JSON. The first verb of path and sql stands for the account.
type question struct {
	name, about, path, sql string
	rows                   int
}

var (
	// latest is about as cheap as a list gets: one range of one index.
	latest = &question{
		name: "list", about: "the 9 latest orders of an account, from one index",
		path: "/v1/accounts/%v/orders",
		sql:  "SELECT id, status, total, note, placed_at FROM orders WHERE account_id = %v ORDER BY placed_at DESC, id DESC LIMIT 9",
		rows: 9,
	}
	// report is what a page with figures on it asks for.
	report = &question{
		name: "report", about: "what an account ordered most, from its 200 orders and 600 lines",
		path: "/v1/accounts/%v/products",
		sql: `SELECT l.sku, count(*) AS lines, sum(l.quantity) AS quantity, max(o.placed_at) AS latest
			FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.account_id = %v
			GROUP BY l.sku ORDER BY quantity DESC, l.sku LIMIT 9`,
		rows: 9,
	}
)

// endpoints returns the files that make tidemark answer questions.
func endpoints(questions ...*question) map[string]string {
	files := map[string]string{}
	for _, q := range questions {
		files[q.name+".sql"] = "-- GET " + fmt.Sprintf(q.path, "{id}") + "\n" + fmt.Sprintf(q.sql, ":id") + "\n"
	}
	return files
}

// pages asks tidemark once for every account and returns what to ask for, with
// further header lines, and the answers by path.
func (q *question) pages(addr, headers string) ([]page, map[string][]byte, error) {
	pages, bodies := make([]page, shopAsked), map[string][]byte{}
	conn := newHTTPConn(addr)
	defer conn.close()
	for i := range pages {
		path := fmt.Sprintf(q.path, i+1)
		r, err := conn.get(request(path, ""))
		if err != nil {
			return nil, nil, err
		}
		// Nested in nothing, so every row begins like this.
		if r.status != 200 || bytes.Count(r.body, []byte("{")) != q.rows {
			return nil, nil, fmt.Errorf("%s: %w: %s%s", path, errResponse, r.head, r.body)
		}
		pages[i] = page{path, request(path, headers), len(r.body)}
		bodies[path] = bytes.Clone(r.body)
	}
	return pages, bodies, nil
}

// queryWorker asks Postgres, and reads the rows without making anything of them.
// The pool prepares the statement once for each connection.
type queryWorker struct {
	pool *pgxpool.Pool
	sql  string
	rows int
}

func (w *queryWorker) request(ctx context.Context, n int) error {
	rows, err := w.pool.Query(ctx, w.sql, 1+n*stride%shopAsked)
	if err != nil {
		return err
	}
	count := 0
	for rows.Next() {
		count++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if count != w.rows {
		return fmt.Errorf("%d rows, want %d", count, w.rows)
	}
	return nil
}

func (w *queryWorker) close() {}

// queryTurn is one turn of Postgres alone.
func (q *question) queryTurn(s *sitting, db *database, pool *pgxpool.Pool) func(context.Context) (*turn, error) {
	return func(ctx context.Context) (*turn, error) {
		workers := make([]worker, s.connections)
		for i := range workers {
			workers[i] = &queryWorker{pool, fmt.Sprintf(q.sql, "$1"), q.rows}
		}
		return load(ctx, s.duration, workers, db.server.PID())
	}
}

// httpTurn is one turn of a server whose pages are known.
func httpTurn(s *sitting, addr string, pages []page, server ...int) func(context.Context) (*turn, error) {
	return func(ctx context.Context) (*turn, error) {
		workers := make([]worker, s.connections)
		for i := range workers {
			workers[i] = &httpWorker{newHTTPConn(addr), pages}
		}
		t, err := load(ctx, s.duration, workers, server...)
		var all sync.WaitGroup
		for _, w := range workers {
			all.Go(w.close)
		}
		all.Wait()
		return t, err
	}
}
