package postgres

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// lines is COPY's text of relationships.
func lines(n int) []byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for i := range n {
		switch i % 10 {
		case 0:
			fmt.Fprintf(&b, "group\tg%d\tmember\tuser\tu%d\t\t\\N\t\\N\t\\N\n", rnd.IntN(n/100+1), rnd.IntN(n/20+1))
		case 1:
			fmt.Fprintf(&b, "document\td%d\tviewer\tuser\tu%d\t\tweekday\t{\"allowed\": [%d]}\t\\N\n", rnd.IntN(n/5+1), rnd.IntN(n/20+1), i%70)
		case 2:
			fmt.Fprintf(&b, "document\td%d\tviewer\tgroup\tg%d\tmember\t\\N\t\\N\t\\N\n", rnd.IntN(n/5+1), rnd.IntN(n/100+1))
		default:
			fmt.Fprintf(&b, "document\td%d\tviewer\tuser\tu%d\t\t\\N\t\\N\t\\N\n", rnd.IntN(n/5+1), rnd.IntN(n/20+1))
		}
	}
	return b.Bytes()
}

// BenchmarkLoad reads relationships as COPY sends them into a graph.
func BenchmarkLoad(b *testing.B) {
	text := lines(1_000_000)
	for b.Loop() {
		builder := graph.NewBuilder()
		in := &copyReader{add: builder.Add, count: new(atomic.Int64), ignored: func(err error) { b.Fatal(err) }}
		for rest := text; len(rest) > 0; {
			i := bytes.IndexByte(rest, '\n') + 1
			if _, err := in.Write(rest[:i]); err != nil {
				b.Fatal(err)
			}
			rest = rest[i:]
		}
		began := time.Now()
		if _, err := builder.Graph(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/graph")
	}
	b.ReportMetric(1_000_000/(b.Elapsed().Seconds()/float64(b.N)), "rows/s")
}

// TestCopyReader reads what Postgres writes, whatever it is cut into.
func TestCopyReader(t *testing.T) {
	db := pgtest.DB(t)
	conn := db.Conn(t)
	texts := []string{"", "plain", `back\slash`, "tab\there", "line\nbreak", "\r\b\f\v", `\N`, "ümlaut", `\.`, "x\\"}
	rnd := rand.New(rand.NewPCG(3, 4))
	var want []string
	values := ""
	for n := range 200 {
		pick := func() string { return texts[rnd.IntN(len(texts))] }
		r := tuple.Relationship{
			Resource: tuple.Object{Type: "document", ID: fmt.Sprint("d", n)}, Relation: "viewer",
			Subject: tuple.Subject{Object: tuple.Object{Type: "user", ID: "u"}}, Caveat: "weekday",
		}
		c := pick()
		var err error
		if r.Context, err = tuple.Canonical([]byte(fmt.Sprintf(`{"text":%q}`, c))); err != nil {
			r.Context = `{"text":"` + strings.Repeat("y", n) + `"}`
		}
		if n%3 == 0 {
			r.Caveat, r.Context = "", ""
		}
		if n%7 == 0 {
			r.Expires = rnd.Int64N(1 << 50)
		}
		want = append(want, r.String())
		values += fmt.Sprintf(",('document','d%d','viewer','user','u','',nullif('%s',''),nullif('%s','')::jsonb::text,nullif(%d,0))", n, r.Caveat, strings.ReplaceAll(r.Context, "'", "''"), r.Expires)
	}
	var sent bytes.Buffer
	if _, err := conn.PgConn().CopyTo(context.Background(), &sent, "COPY (VALUES "+values[1:]+") TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		var got []string
		in := &copyReader{
			add:   func(r tuple.Relationship) error { got = append(got, strings.Clone(r.String())); return nil },
			count: new(atomic.Int64), ignored: func(err error) { t.Error(err) },
		}
		for rest := slices.Clone(sent.Bytes()); len(rest) > 0; {
			n := min(len(rest), 1+rnd.IntN(1+rnd.IntN(500)))
			piece := slices.Clone(rest[:n])
			if _, err := in.Write(piece); err != nil {
				t.Fatal(err)
			}
			for i := range piece {
				piece[i] = '#' // it is used again
			}
			rest = rest[n:]
		}
		if err := in.end(); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) || in.count.Load() != 200 {
			t.Fatalf("got %q\nwant %q", got, want)
		}
	}
	in := &copyReader{add: func(tuple.Relationship) error { return nil }, count: new(atomic.Int64), ignored: func(error) {}}
	for _, bad := range []string{"a\tb\n", "a\tb\tc\td\te\tf\tg\th\ti\tj\n"} {
		if _, err := in.Write([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := in.Write([]byte("document")); err != nil || in.end() == nil {
		t.Error("half a line is no end")
	}
}

// TestParseTime compares with what Postgres says a time is.
func TestParseTime(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	if _, err := conn.Exec(t.Context(), "SET timezone = 'UTC'; SET datestyle = 'ISO'", pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), `SELECT t::text, least(extract(epoch FROM t) * 1000000, 9223372036854775807)::bigint FROM (
		SELECT '4713-01-01 BC'::timestamptz + n * interval '997 days 5 hours 3 seconds 7 microseconds' AS t FROM generate_series(0, 20000) n
		UNION ALL SELECT '294276-12-31 23:59:59.999999' UNION ALL SELECT '2024-02-29 12:00' UNION ALL SELECT '0001-01-01' UNION ALL SELECT '0001-12-31 BC') t`)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	var want int64
	if _, err := pgx.ForEachRow(rows, []any{&text, &want}, func() error {
		if got, err := parseTime(text); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]int64{"infinity": 0, "-infinity": longAgo, "1970-01-01 00:00:00+00": longAgo} {
		if got, err := parseTime(text); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "now", "2024-13-01 00:00:00+00", "2024"} {
		if _, err := parseTime(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
