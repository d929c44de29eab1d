package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// writer is an application that writes plain SQL.
type writer struct {
	*rand.Rand
	run  *run
	conn *pgx.Conn
	// tx is the transaction under way.
	tx *transaction
	// client reads what was written, with the token of the write.
	client *client
}

func (w *writer) loop(ctx context.Context) {
	for ctx.Err() == nil {
		if w.conn == nil || w.conn.IsClosed() {
			w.connect()
			if w.conn == nil {
				pause(ctx, 20*time.Millisecond)
				continue
			}
		}
		if token := w.write(); token != "" && chance(w.Rand, 70) {
			w.readOwn(ctx, token)
		}
		pause(ctx, time.Duration(w.IntN(int(writePause))))
	}
	if w.conn != nil {
		_ = w.conn.Close(context.Background())
	}
}

func (w *writer) connect() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.run.db.DSN()+"&lock_timeout=300ms&application_name=oracle_writer")
	if err == nil {
		w.conn = conn
	}
}

// statementTimeout is beyond any wait that a lane brings about.
const statementTimeout = 60 * time.Second

func (w *writer) exec(sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	_, err := w.conn.Exec(ctx, sql, args...)
	return err
}

// rows runs a statement that returns whole rows as text.
func (w *writer) rows(sql string) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	// Plans are not kept: definitions change.
	rows, err := w.conn.Query(ctx, sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// write runs one transaction and returns its token, if it asked for one and
// committed.
func (w *writer) write() (token string) {
	w.tx = &transaction{life: int(w.run.life.Load())}
	if err := w.exec("BEGIN"); err != nil {
		return ""
	}
	if chance(w.Rand, w.run.lane.asyncPercent) {
		w.tx.async = true
		if w.exec("SET LOCAL synchronous_commit = off") != nil {
			return ""
		}
	}
	err := w.statements()
	if err == nil && len(w.tx.effects) > 0 && chance(w.Rand, 40) {
		var rows []string
		if rows, err = w.rows("SELECT tidemark.token()"); err == nil {
			token = rows[0]
			w.tx.token = token
		}
	}
	if err != nil || len(w.tx.effects) == 0 || chance(w.Rand, 5) {
		if !w.conn.IsClosed() {
			_ = w.exec("ROLLBACK")
		}
		w.run.unexpected(err)
		return ""
	}
	if !w.commit() {
		return ""
	}
	return token
}

func (w *writer) commit() bool {
	xid, err := w.rows("SELECT pg_current_xact_id()::text")
	if err != nil {
		return false
	}
	n := atoi(xid[0])
	w.tx.xid = revision.XID(n)
	w.tx.sent = time.Now()
	if err = w.exec("COMMIT"); err == nil {
		w.tx.acked = time.Now()
	}
	w.run.wrote(w.tx)
	return err == nil
}

func (w *writer) statements() error {
	for range 1 + w.IntN(4) {
		t := pick(w.Rand, w.run.s.tables)
		if w.run.lane.large && chance(w.Rand, 10) {
			if err := w.storm(t); err != nil {
				return err
			}
			continue
		}
		if !chance(w.Rand, 15) {
			if err := w.statement(t); err != nil {
				return err
			}
			continue
		}
		if err := w.savepoint(t, chance(w.Rand, 60)); err != nil {
			return err
		}
	}
	return nil
}

// savepoint runs statements of which nothing stays if undo is set, or if one of
// them fails.
func (w *writer) savepoint(t *table, undo bool) error {
	before := len(w.tx.effects)
	if err := w.exec("SAVEPOINT s"); err != nil {
		return err
	}
	err := w.statement(t)
	if err == nil && chance(w.Rand, 50) {
		err = w.statement(t)
	}
	if err != nil && w.conn.IsClosed() {
		return err
	}
	if err == nil && !undo {
		return w.exec("RELEASE s")
	}
	w.tx.effects = w.tx.effects[:before]
	return w.exec("ROLLBACK TO s")
}

// statement runs one statement, or a few that belong together, on a table.
func (w *writer) statement(t *table) error {
	switch n := w.IntN(100); {
	case n < 22:
		return w.insert(t, " ON CONFLICT DO NOTHING")
	case n < 34:
		return w.upsert(t)
	case n < 58:
		return w.update(t, w.keyTest(t), false)
	case n < 66:
		return w.update(t, w.anyTest(t), false)
	case n < 72:
		return w.update(t, w.keyTest(t), true)
	case n < 86:
		return w.remove(t, w.keyTest(t))
	case n < 90:
		return w.remove(t, w.keyTest(t)+" AND "+w.anyTest(t))
	case n < 94:
		return w.series(t)
	case n < 98:
		return w.copyIn(t)
	case n < 99 && w.run.lane.truncates:
		return w.truncate(t)
	}
	return w.touch(t)
}

// random returns a value for a column, as a literal.
func (w *writer) random(c *column) string {
	if c.null && chance(w.Rand, 20) {
		return "NULL"
	}
	return quote(c.kind.stored(w.Rand))
}

func (w *writer) tuple(cols []*column) string {
	vals := make([]string, len(cols))
	for i, c := range cols {
		vals[i] = w.random(c)
	}
	return "(" + strings.Join(vals, ", ") + ")"
}

func (w *writer) keyTest(t *table) string {
	var tests []string
	for _, c := range t.key {
		tests = append(tests, fmt.Sprintf("x.%s = %s", c.name, quote(c.kind.value(w.Rand))))
	}
	return strings.Join(tests, " AND ")
}

func (w *writer) anyTest(t *table) string { return "(" + constantCondition(w.Rand, t, "x") + ")" }

func (w *writer) did(make func(string) effect, rows []string) {
	for _, row := range rows {
		w.tx.effects = append(w.tx.effects, make(row))
	}
}

func (w *writer) insert(t *table, conflict string) error {
	var tuples []string
	for range 1 + w.IntN(3) {
		tuples = append(tuples, w.tuple(t.cols))
	}
	rows, err := w.rows(fmt.Sprintf("INSERT INTO %s AS x (%s) VALUES %s%s RETURNING x::text",
		t.name, columnNames(t.cols, ""), strings.Join(tuples, ", "), conflict))
	w.did(t.place, rows)
	return err
}

func (w *writer) upsert(t *table) error {
	c := pick(w.Rand, t.cols[len(t.key):])
	rows, err := w.rows(fmt.Sprintf("INSERT INTO %s AS x (%s) VALUES %s ON CONFLICT (%s) DO UPDATE SET %s = EXCLUDED.%s RETURNING x::text",
		t.name, columnNames(t.cols, ""), w.tuple(t.cols), columnNames(t.key, ""), c.name, c.name))
	w.did(t.erase, rows)
	w.did(t.place, rows)
	return err
}

// update locks the rows first, so that what it changes is known by key.
func (w *writer) update(t *table, where string, again bool) error {
	old, err := w.rows(fmt.Sprintf("SELECT x::text FROM %s x WHERE %s ORDER BY %s FOR UPDATE", t.scanned(), where, columnNames(t.key, "x.")))
	if err != nil || len(old) == 0 {
		return err
	}
	locked := make([]string, len(old))
	for i, row := range old {
		locked[i] = fmt.Sprintf("(SELECT %s FROM (SELECT %s::%s AS r) s)", columnNames(t.key, "(r)."), quote(row), t.name)
	}
	set := func(into string) ([]string, error) {
		var all []string
		for _, key := range locked {
			rows, err := w.rows(fmt.Sprintf("UPDATE %s x SET %s WHERE (%s) = %s RETURNING x::text", t.scanned(), into, columnNames(t.key, "x."), key))
			if err != nil {
				return nil, err
			}
			all = append(all, rows...)
		}
		return all, nil
	}
	var sets []string
	for _, c := range t.cols[len(t.key):] {
		switch {
		case chance(w.Rand, 40):
			sets = append(sets, c.name+" = "+w.random(c))
		case chance(w.Rand, 10):
			sets = append(sets, c.name+" = x."+c.name)
		}
	}
	if len(sets) == 0 {
		sets = append(sets, t.cols[len(t.key)].name+" = x."+t.cols[len(t.key)].name)
	}
	rows, err := set(strings.Join(sets, ", "))
	if err != nil {
		return err
	}
	w.did(t.erase, old)
	w.did(t.place, rows)
	if again {
		return w.move(t, rows[0])
	}
	return nil
}

// move changes the key of a row, and sometimes back again.
func (w *writer) move(t *table, row string) error {
	before := len(w.tx.effects)
	if err := w.exec("SAVEPOINT m"); err != nil {
		return err
	}
	cond := func(row string) string {
		return fmt.Sprintf("(%s) = (SELECT %s FROM (SELECT %s::%s AS r) s)", columnNames(t.key, "x."), columnNames(t.key, "(r)."), quote(row), t.name)
	}
	c := pick(w.Rand, t.key)
	old, from := row, ""
	for range 1 + w.IntN(2) {
		to := quote(c.kind.value(w.Rand))
		if from != "" {
			to = from
		}
		rows, err := w.rows(fmt.Sprintf("UPDATE %s x SET %s = %s WHERE %s RETURNING x::text", t.scanned(), c.name, to, cond(old)))
		if err != nil {
			if w.conn.IsClosed() {
				return err
			}
			w.tx.effects = w.tx.effects[:before]
			return w.exec("ROLLBACK TO m")
		}
		w.did(t.erase, []string{old})
		w.did(t.place, rows)
		from = fmt.Sprintf("(SELECT (r).%s FROM (SELECT %s::%s AS r) s)", c.name, quote(old), t.name)
		old = rows[0]
	}
	return w.exec("RELEASE m")
}

// touch updates a row to what it is.
func (w *writer) touch(t *table) error {
	c := pick(w.Rand, t.cols)
	rows, err := w.rows(fmt.Sprintf("UPDATE %s x SET %s = x.%s WHERE %s RETURNING x::text", t.scanned(), c.name, c.name, w.keyTest(t)))
	w.did(t.erase, rows)
	w.did(t.place, rows)
	return err
}

func (w *writer) remove(t *table, where string) error {
	rows, err := w.rows(fmt.Sprintf("DELETE FROM %s x WHERE %s RETURNING x::text", t.scanned(), where))
	w.did(t.erase, rows)
	return err
}

func (w *writer) series(t *table) error {
	if k := t.key[0].kind; k.sql != "int" && k.sql != "bigint" {
		return w.insert(t, " ON CONFLICT DO NOTHING")
	}
	vals := []string{"i"}
	for _, c := range t.cols[1:] {
		vals = append(vals, w.random(c)+"::"+c.kind.typ())
	}
	from := atoi(t.key[0].kind.value(w.Rand))
	rows, err := w.rows(fmt.Sprintf("INSERT INTO %s AS x (%s) SELECT %s FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING RETURNING x::text",
		t.name, columnNames(t.cols, ""), strings.Join(vals, ", "), from, from+w.IntN(4)))
	w.did(t.place, rows)
	return err
}

// copyIn replaces one row, or loads it, with COPY.
func (w *writer) copyIn(t *table) error {
	var where, fields []string
	for i, c := range t.cols {
		v := c.kind.value(w.Rand)
		if i < len(t.key) {
			where = append(where, fmt.Sprintf("x.%s = %s", c.name, quote(v)))
		}
		if c.null && chance(w.Rand, 20) {
			fields = append(fields, `\N`)
			continue
		}
		fields = append(fields, strings.ReplaceAll(v, `\`, `\\`))
	}
	key := strings.Join(where, " AND ")
	if err := w.remove(t, key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), statementTimeout)
	defer cancel()
	line := strings.NewReader(strings.Join(fields, "\t") + "\n")
	if _, err := w.conn.PgConn().CopyFrom(ctx, line, fmt.Sprintf("COPY %s (%s) FROM STDIN", t.name, columnNames(t.cols, ""))); err != nil {
		return err
	}
	rows, err := w.rows(fmt.Sprintf("SELECT x::text FROM %s x WHERE %s", t.scanned(), key))
	w.did(t.place, rows)
	return err
}

func (w *writer) truncate(t *table) error {
	sql := "TRUNCATE " + t.name
	if len(t.leaves) > 0 && chance(w.Rand, 50) {
		sql = "TRUNCATE " + pick(w.Rand, t.leaves)
	} else if t.child != nil && chance(w.Rand, 50) {
		sql = "TRUNCATE ONLY " + t.name
	}
	err := w.exec(sql, pgx.QueryExecModeSimpleProtocol)
	if err == nil {
		w.tx.effects = append(w.tx.effects, effect{sql: sql})
	}
	return err
}
