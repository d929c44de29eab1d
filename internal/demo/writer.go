package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

// Sizes of the sample, as load.sql makes it.
const (
	accounts = 60
	users    = 6_000
	orders   = 36_000
	products = 200
	// recent is the first order that is not long delivered.
	recent = 33_001
)

// Writer makes small transactions as an application would, rate of them each
// second, until the context ends, which is no error. What it does in which
// order is the same every time.
func Writer(ctx context.Context, conn *pgx.Conn, rate float64) error {
	w := writer{conn: conn, random: rand.New(rand.NewPCG(2026, 1)), last: orders}
	tick := time.NewTicker(time.Duration(float64(time.Second) / rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.step(ctx); err != nil && ctx.Err() == nil {
			return fmt.Errorf("the writer failed: %w", err)
		}
	}
}

type writer struct {
	conn   *pgx.Conn
	random *rand.Rand
	last   int64 // the newest order
}

// step makes one transaction. Most move an order along; it is what shops do.
func (w *writer) step(ctx context.Context) error {
	switch n := w.random.IntN(10); {
	case n < 6:
		return w.advance(ctx)
	case n < 8:
		return w.order(ctx)
	case n < 9:
		return w.quantity(ctx)
	default:
		return w.profile(ctx)
	}
}

// advance moves one recent order to its next status.
func (w *writer) advance(ctx context.Context) error {
	id := recent + w.random.Int64N(w.last-recent+1)
	_, err := w.conn.Exec(ctx, `
WITH moved AS (
  UPDATE orders SET updated_at = now(), status = CASE status
    WHEN 'pending' THEN 'paid' WHEN 'paid' THEN 'shipped' WHEN 'shipped' THEN 'delivered' ELSE 'pending' END::order_status
  WHERE id = $1 RETURNING id, updated_at, status
)
INSERT INTO order_events (order_id, at, status) SELECT id, updated_at, status FROM moved ON CONFLICT DO NOTHING`, id)
	return err
}

// order places a new order with one to three lines.
func (w *writer) order(ctx context.Context) error {
	return pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
		buyer := 1 + w.random.IntN(users)
		err := tx.QueryRow(ctx, `
INSERT INTO orders (account_id, user_id, status, total, express, shipping, placed_at, updated_at)
SELECT account_id, id, 'pending', 0, $2, '{"city": "Porto"}', now(), now() FROM users WHERE id = $1
RETURNING id`, fmt.Sprintf("bbbbbbbb-0000-4000-8000-%012d", buyer), w.random.IntN(4) == 0).Scan(&w.last)
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		for line := range 1 + w.random.IntN(3) {
			item := w.random.IntN(products)
			batch.Queue("INSERT INTO order_lines (order_id, line, sku, quantity, unit_price) VALUES ($1, $2, $3, $4, 1.95 + $5 * 0.75)",
				w.last, line+1, fmt.Sprintf("SKU-%03d", item+1), 1+w.random.IntN(5), item)
		}
		batch.Queue(totalSQL, w.last)
		batch.Queue("INSERT INTO order_events (order_id, at, status) VALUES ($1, now(), 'pending')", w.last)
		return tx.SendBatch(ctx, batch).Close()
	})
}

const totalSQL = `UPDATE orders SET updated_at = now(),
  total = (SELECT sum(quantity * unit_price) FROM order_lines WHERE order_id = $1) WHERE id = $1`

// quantity changes one line of a recent order.
func (w *writer) quantity(ctx context.Context) error {
	id := recent + w.random.Int64N(w.last-recent+1)
	return pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		batch.Queue("UPDATE order_lines SET quantity = $2 WHERE order_id = $1 AND line = 1", id, 1+w.random.IntN(9))
		batch.Queue(totalSQL, id)
		return tx.SendBatch(ctx, batch).Close()
	})
}

// profile turns a user's newsletter on or off, or an account's theme.
func (w *writer) profile(ctx context.Context) error {
	if w.random.IntN(2) == 0 {
		_, err := w.conn.Exec(ctx, `UPDATE users SET profile = jsonb_set(profile, '{newsletter}', to_jsonb(NOT (profile->>'newsletter')::boolean))
WHERE id = $1`, fmt.Sprintf("bbbbbbbb-0000-4000-8000-%012d", 1+w.random.IntN(users)))
		return err
	}
	_, err := w.conn.Exec(ctx, `UPDATE accounts SET settings = jsonb_set(settings, '{theme}', CASE settings->>'theme' WHEN 'dark' THEN '"light"'::jsonb ELSE '"dark"' END)
WHERE id = $1`, accountID(1+w.random.IntN(accounts)))
	return err
}
