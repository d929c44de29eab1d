package livetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// formats are the settings under which Postgres prints values for followers.
const formats = "SET bytea_output = hex; SET DateStyle = 'ISO, DMY'; SET TimeZone = 'UTC'; SET IntervalStyle = iso_8601; SET extra_float_digits = 1"

// book is one writer, and what its transactions made of each view.
type book struct {
	t      testing.TB
	reader *pgx.Conn
	writer *pgx.Conn
	views  []*view
}

// view is a SELECT and the states that it had, oldest first, without
// repetitions.
type view struct {
	sql string

	mu     sync.Mutex
	states []string
}

func newBook(t testing.TB, db *pgtest.Database) *book {
	t.Helper()
	b := &book{t: t, reader: db.Conn(t), writer: db.Conn(t)}
	if _, err := b.reader.PgConn().Exec(context.Background(), formats).ReadAll(); err != nil {
		t.Fatal(err)
	}
	return b
}

// view adds one, which nobody follows yet.
func (b *book) view(sql string) *view {
	b.t.Helper()
	v := &view{sql: sql}
	b.views = append(b.views, v)
	b.look(v)
	return v
}

// do runs statements in one transaction, and notes what it made of the views.
func (b *book) do(format string, args ...any) {
	b.t.Helper()
	sql := fmt.Sprintf(format, args...)
	if _, err := b.writer.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	for _, v := range b.views {
		b.look(v)
	}
}

func (b *book) look(v *view) {
	b.t.Helper()
	s := stateOf(slices.Values(b.read(v.sql)))
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.states) == 0 || v.states[len(v.states)-1] != s {
		v.states = append(v.states, s)
	}
}

// read returns rows with the text of each value, as followers have them.
func (b *book) read(sql string) []map[string]any {
	b.t.Helper()
	results, err := b.reader.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	r := results[len(results)-1]
	rows := []map[string]any{}
	for _, values := range r.Rows {
		row := map[string]any{}
		for i, v := range values {
			row[r.FieldDescriptions[i].Name] = nil
			if v != nil {
				row[r.FieldDescriptions[i].Name] = string(v)
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// last is the newest state.
func (v *view) last() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.states[len(v.states)-1]
}

// follows returns the index of the first state that is not one of the view's
// at or after the one before, or -1. A state may be there more than once, and
// the earliest one leaves the most room.
func (v *view) follows(states []string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := 0
	for i, s := range states {
		n := slices.Index(v.states[at:], s)
		if n < 0 {
			return i
		}
		at += n
	}
	return -1
}
