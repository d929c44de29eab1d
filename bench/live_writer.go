package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	liveCustomers = 10_000
	liveOrders    = 10 // of a customer
	liveStranger  = liveCustomers + 1
)

// liveSchema is orders of customers, of which one more than are followed.
func liveSchema(customers int) []string {
	return []string{
		"CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL)",
		fmt.Sprintf("INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, %d) n", customers+1),
		`CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, serial bigint NOT NULL, status text NOT NULL,
			total numeric(10,2) NOT NULL, at timestamptz NOT NULL, urgent boolean NOT NULL) WITH (fillfactor = 50)`,
		// The orders of customer c are those from liveOrders * c on.
		fmt.Sprintf(`INSERT INTO orders SELECT n, n / %d, 0, (ARRAY['open','paid','sent'])[1 + n %% 3], n %% 977 + 0.5,
			'2026-01-01'::timestamptz + n * interval '1 minute', n %% 7 = 0 FROM generate_series(%d, %d) n`,
			liveOrders, liveOrders, liveOrders*(customers+2)-1),
		"CREATE INDEX ON orders (customer_id)",
	}
}

// writer updates orders over one connection, so that the order of serial numbers
// is that of commits. Times are by clock.
type writer struct {
	conn   *pgconn.PgConn
	serial int64
	begun  []int64 // when the transaction of a serial number was sent
	acked  []int64 // and acknowledged; 0 for one that is not yet
	at     int64   // serial number before the first of both
}

const (
	updateOne  = "UPDATE orders SET serial = $2::bigint, total = $2::bigint % 977 + 0.25, urgent = NOT urgent WHERE id = $1"
	updateMany = `UPDATE orders SET serial = v.serial, total = v.serial % 977 + 0.25, urgent = NOT urgent
		FROM unnest($1::int[], $2::bigint[]) v(id, serial) WHERE orders.id = v.id`
)

func openWriter(ctx context.Context, db *database) (*writer, error) {
	conn, err := pgconn.Connect(ctx, db.dsn)
	if err != nil {
		return nil, err
	}
	w := &writer{conn: conn}
	for name, sql := range map[string]string{"one": updateOne, "many": updateMany} {
		if _, err := conn.Prepare(ctx, name, sql, nil); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *writer) close() { _ = w.conn.Close(context.Background()) }

// forget begins a new list of times.
func (w *writer) forget() { w.begun, w.acked, w.at = nil, nil, w.serial }

// ack returns when the transaction of a serial number was acknowledged.
func (w *writer) ack(serial int64) int64 { return w.acked[serial-w.at-1] }

func (w *writer) begin(serial int64) int64 { return w.begun[serial-w.at-1] }

// send queues a transaction that updates rows.
func (w *writer) send(p *pgconn.Pipeline, ids []int) {
	now := clock()
	for range ids {
		w.begun, w.acked = append(w.begun, now), append(w.acked, 0)
	}
	if len(ids) == 1 {
		w.serial++
		p.SendQueryPrepared("one", [][]byte{decimal(ids[0]), decimal(int(w.serial))}, nil, nil)
	} else {
		var rows, serials []string
		for _, id := range ids {
			w.serial++
			rows, serials = append(rows, strconv.Itoa(id)), append(serials, strconv.FormatInt(w.serial, 10))
		}
		p.SendQueryPrepared("many", [][]byte{[]byte("{" + strings.Join(rows, ",") + "}"), []byte("{" + strings.Join(serials, ",") + "}")}, nil, nil)
	}
	p.SendPipelineSync()
}

func decimal(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// receive reads the acknowledgement of the transaction that was sent with the
// serial numbers from first on.
func (w *writer) receive(p *pgconn.Pipeline, first int64, rows int) error {
	for {
		result, err := p.GetResults()
		if err != nil {
			return err
		}
		switch r := result.(type) {
		case *pgconn.ResultReader:
			tag, err := r.Close()
			if err != nil {
				return err
			}
			if int(tag.RowsAffected()) != rows {
				return fmt.Errorf("%d rows were updated, want %d", tag.RowsAffected(), rows)
			}
		case *pgconn.PipelineSync:
			now := clock()
			for i := range int64(rows) {
				w.acked[first+i-w.at] = now
			}
			return nil
		}
	}
}

// together is how many transactions are sent before their acknowledgements are
// read.
const together = 100

// write makes some transactions as fast as it can.
func (w *writer) write(ctx context.Context, transactions [][]int) error {
	p := w.conn.StartPipeline(ctx)
	for len(transactions) > 0 {
		n := min(together, len(transactions))
		first := w.serial
		for _, ids := range transactions[:n] {
			w.send(p, ids)
		}
		if err := p.Flush(); err != nil {
			_ = p.Close()
			return err
		}
		for _, ids := range transactions[:n] {
			if err := w.receive(p, first, len(ids)); err != nil {
				_ = p.Close()
				return err
			}
			first += int64(len(ids))
		}
		transactions = transactions[n:]
	}
	return p.Close()
}

// offer makes transactions of some rows at a rate of rows per second, by the clock:
// what is late is sent as soon as it can be. It returns how long that took.
func (w *writer) offer(ctx context.Context, rate float64, rows int, d time.Duration, pick func(n int) int) (time.Duration, error) {
	const step = 2 * time.Millisecond
	start := time.Now()
	n, sent := 0, 0
	all := int(rate * d.Seconds() / float64(rows))
	for sent < all {
		due := min(all, int(rate*time.Since(start).Seconds()/float64(rows)))
		var batch [][]int
		for ; sent < due && len(batch) < together; sent++ {
			ids := make([]int, rows)
			for i := range ids {
				ids[i] = pick(n)
				n++
			}
			batch = append(batch, ids)
		}
		if err := w.write(ctx, batch); err != nil {
			return 0, err
		}
		if sent == due {
			if err := sleep(ctx, step); err != nil {
				return 0, err
			}
		}
	}
	return time.Since(start), nil
}
