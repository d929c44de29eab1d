package feed

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
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

// latencies is a Sink that passes on when something happens.
type latencies struct {
	counter
	advanced chan revision.LSN
}

func (l *latencies) Advance(lsn revision.LSN) { l.advanced <- lsn }

// BenchmarkLatency measures from the return of a commit, by the median and the
// 99th percentile: until its transaction was applied, and, for a table that is
// not published, until the frontier has passed it, with requests for a reply.
func BenchmarkLatency(b *testing.B) {
	for _, published := range []bool{true, false} {
		b.Run(fmt.Sprintf("published=%v", published), func(b *testing.B) {
			db := pgtest.DB(b)
			db.Exec(b, `CREATE TABLE t (id serial PRIMARY KEY); CREATE TABLE u (id serial PRIMARY KEY)`)
			db.Exec(b, `CREATE PUBLICATION pub FOR TABLE t`)
			sink := &latencies{advanced: make(chan revision.LSN, 1000)}
			opts := testOptions(b, db)
			opts.Logger, opts.StatusInterval = nil, time.Second
			feed := New(opts, sink)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- feed.Run(ctx) }()
			<-sink.advanced
			conn := db.Conn(b)
			sql := `INSERT INTO u DEFAULT VALUES`
			if published {
				sql = `INSERT INTO t DEFAULT VALUES`
			}
			var took []time.Duration
			for b.Loop() {
				if _, err := conn.Exec(ctx, sql); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				var s string
				if err := conn.QueryRow(ctx, `SELECT pg_current_wal_flush_lsn()::text`).Scan(&s); err != nil {
					b.Fatal(err)
				}
				lsn, _ := revision.ParseLSN(s)
				feed.RequestReply()
				for <-sink.advanced < lsn {
				}
				took = append(took, time.Since(start))
			}
			cancel()
			for open := true; open; {
				select {
				case <-sink.advanced:
				case <-done:
					open = false
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
			b.ReportMetric(0, "ns/op")
		})
	}
}
