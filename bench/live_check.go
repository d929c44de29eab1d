package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"
)

// settle makes rows of the messages that a follower has received.
func (f *follower) settle() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rows == nil {
		f.rows = map[string]map[string]*string{}
	}
	for line := range bytes.Lines(f.text) {
		line = bytes.TrimPrefix(bytes.TrimSpace(line), []byte("data: "))
		line = bytes.TrimSuffix(bytes.TrimSuffix(bytes.TrimPrefix(line, []byte("[")), []byte("]")), []byte(","))
		if len(line) == 0 || line[0] != '{' {
			continue // of a stream: an id, a comment, the end of an event
		}
		if err := f.apply(line); err != nil {
			return fmt.Errorf("%s: %w: %s", f.path, err, clip(line))
		}
	}
	f.text = nil
	return nil
}

// apply changes the rows as a client does. It is strict: a row is inserted that is
// not there, and no other is updated or deleted than one that is.
func (f *follower) apply(line []byte) error {
	var m struct {
		Key     string
		Value   map[string]*string
		Headers struct{ Operation, Control string }
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return err
	}
	row, there := f.rows[m.Key]
	switch op := m.Headers.Operation; {
	case m.Headers.Control == "must-refetch":
		return fmt.Errorf("the shape is over")
	case op == "":
		return nil
	case there == (op == "insert"):
		return fmt.Errorf("%s of a row that is there: %v", op, there)
	case op == "insert":
		f.rows[m.Key] = m.Value
	case op == "update":
		maps.Copy(row, m.Value)
	case op == "delete":
		delete(f.rows, m.Key)
	default:
		return fmt.Errorf("operation %q", op)
	}
	return nil
}

// tableRows and answerRows are what Postgres says of a customer's shape. Values
// are as messages have them.
const (
	tableRows = "SELECT id::text, customer_id::text, serial::text, status, total::text, at::text, urgent::text FROM orders WHERE customer_id = $1"
	// As liveEndpoints has it.
	answerRows = `SELECT o.id::text, o.serial::text, o.status, o.total::text, c.name FROM orders o JOIN customers c ON c.id = o.customer_id
		WHERE o.customer_id = $1 ORDER BY o.serial DESC, o.id LIMIT 10`
)

// judge compares followers with Postgres, when nothing is written any more. All of
// one customer have the same rows. It returns how many differ, and how the first
// does.
func judge(ctx context.Context, db *database, followers []*follower, customer func(int) int, sql string) (wrong int, first string, err error) {
	conn, err := pgx.Connect(ctx, db.dsn)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(ctx, "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, DMY'"); err != nil {
		return 0, "", err
	}
	known := map[int]map[string]map[string]*string{}
	for i, f := range followers {
		want := known[customer(i)]
		if want == nil {
			if want, err = rowsOf(ctx, conn, sql, customer(i)); err != nil {
				return 0, "", err
			}
			known[customer(i)] = want
		}
		problem := ""
		if err := f.settle(); err != nil {
			problem = err.Error()
		} else {
			problem = f.differs(want)
		}
		if problem != "" {
			if wrong++; first == "" {
				first = problem
			}
		}
	}
	return wrong, first, nil
}

func rowsOf(ctx context.Context, conn *pgx.Conn, sql string, customer int) (map[string]map[string]*string, error) {
	rows, err := conn.Query(ctx, sql, customer)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]map[string]*string{}
	for rows.Next() {
		row := map[string]*string{}
		into := make([]any, len(rows.FieldDescriptions()))
		values := make([]*string, len(into))
		for i := range into {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, d := range rows.FieldDescriptions() {
			v := values[i]
			if d.Name == "urgent" && v != nil { // the cast says true, the type's output t
				short := (*v)[:1]
				v = &short
			}
			row[d.Name] = v
		}
		out[*row["id"]] = row
	}
	return out, rows.Err()
}

// differs says how a follower's rows are not those that it should have.
func (f *follower) differs(want map[string]map[string]*string) string {
	if len(f.rows) != len(want) {
		return fmt.Sprintf("%s: %d rows, want %d", f.path, len(f.rows), len(want))
	}
	for _, row := range f.rows {
		id := row["id"]
		if id == nil {
			return f.path + ": a row without an id"
		}
		equal := maps.EqualFunc(row, want[*id], func(a, b *string) bool {
			return a == nil && b == nil || a != nil && b != nil && *a == *b
		})
		if !equal {
			return fmt.Sprintf("%s: row %s is %s, want %s", f.path, *id, text(row), text(want[*id]))
		}
	}
	return ""
}

func text(row map[string]*string) string {
	b, _ := json.Marshal(row)
	return string(b)
}
