package feed

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// counter is a Sink that counts.
type counter struct {
	until   revision.LSN
	reached chan struct{}
	changes int
}

func (c *counter) Connected(context.Context, Session) error { return nil }
func (c *counter) Disconnected(error)                       {}

func (c *counter) Apply(_ context.Context, t *change.Transaction) error {
	return t.Each(func(*change.Change) error { c.changes++; return nil })
}

func (c *counter) Advance(lsn revision.LSN) {
	if lsn >= c.until && c.reached != nil {
		close(c.reached)
		c.reached = nil
	}
}

// BenchmarkFeed follows a log that is written already, in transactions of
// various sizes, and does the same with pg_recvlogical, which decodes nothing
// and writes to /dev/null. Each iteration is one pass over the log by each.
func BenchmarkFeed(b *testing.B) {
	const rows = 300_000
	for _, per := range []int{1, 10, 1000, rows} {
		b.Run(fmt.Sprintf("rows=%d", per), func(b *testing.B) {
			n := rows
			if per == 1 {
				n = 50_000
			}
			benchmarkFeed(b, n, per)
		})
	}
}

func benchmarkFeed(b *testing.B, rows, per int) {
	recv := pgtest.Tool(b, "pg_recvlogical")
	db := pgtest.DB(b)
	db.Exec(b, `CREATE TABLE t (id int PRIMARY KEY, account uuid, name text, n int, at timestamptz)`)
	publish(b, db)
	passes := 0
	slot := func(kind string) string { return fmt.Sprintf("b_%s_%s_%d", kind, db.Name, passes) }
	// The best pass of each: the machine is shared, and noise only adds.
	feedTime, recvTime := time.Hour, time.Hour
	for b.Loop() {
		passes++
		for _, kind := range []string{"feed", "recv"} {
			db.Exec(b, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, slot(kind))
		}
		db.Exec(b, `TRUNCATE t`)
		db.Exec(b, fmt.Sprintf(`DO $$ BEGIN FOR i IN 0..%d LOOP
			INSERT INTO t SELECT i * %d + g, gen_random_uuid(), 'name of row ' || g, g, now() FROM generate_series(1, %d) g;
			COMMIT; END LOOP; END $$`, rows/per-1, per, per))
		db.Exec(b, `CHECKPOINT`)
		end := queryLSN(b, db, "SELECT pg_current_wal_flush_lsn()::text")

		run := func() {
			sink := &counter{until: end, reached: make(chan struct{})}
			reached := sink.reached
			opts := testOptions(b, db)
			opts.Slot, opts.Logger, opts.StatusInterval = slot("feed"), nil, time.Second
			feed := New(opts, sink)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			start := time.Now()
			go func() { done <- feed.Run(ctx) }()
			<-reached
			feedTime = min(feedTime, time.Since(start))
			cancel()
			if err := <-done; err != nil || sink.changes < rows {
				b.Fatal(err, sink.changes)
			}
		}
		other := func() {
			start := time.Now()
			out, err := exec.Command(recv, "-d", db.DSN(), "--slot", slot("recv"), "--start", "--endpos", end.String(), "-f", "/dev/null",
				"--no-loop", "--fsync-interval=0", "-o", "proto_version=2", "-o", "streaming=on",
				"-o", "publication_names="+testPublication).CombinedOutput()
			recvTime = min(recvTime, time.Since(start))
			if err != nil {
				b.Fatalf("pg_recvlogical: %v: %s", err, out)
			}
		}
		if passes%2 == 0 {
			run()
			other()
		} else {
			other()
			run()
		}
		for _, kind := range []string{"feed", "recv"} {
			db.Exec(b, `SELECT pg_drop_replication_slot($1)`, slot(kind))
		}
	}
	perSecond := func(d time.Duration) float64 { return float64(rows) / d.Seconds() }
	b.ReportMetric(perSecond(feedTime), "rows/s")
	b.ReportMetric(perSecond(recvTime), "recvlogical-rows/s")
	b.ReportMetric(recvTime.Seconds()/feedTime.Seconds(), "ratio")
	b.ReportMetric(0, "ns/op")
}
