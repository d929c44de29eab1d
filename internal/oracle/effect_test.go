package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// effect is one thing that a transaction did, as a statement that does the same
// to a replica. It comes from what the writer was told, not from the log.
type effect struct {
	sql  string
	row  string // $1 where it is not empty
	name string // for people: the table, with a sign; else the statement says it
}

func (e effect) String() string {
	switch {
	case e.name == "":
		return e.sql
	case len(e.row) > 100:
		return e.name + e.row[:100] + "…"
	}
	return e.name + e.row
}

// transaction is what one writer committed, or may have.
type transaction struct {
	xid     revision.XID
	effects []effect
	// sent is when COMMIT was sent; acked when it was answered, zero if it never
	// was.
	sent, acked time.Time
	async       bool   // acknowledged before it was durable
	life        int    // how often the server had been started
	token       string // that it was given, if it asked for one

	end revision.LSN // from the log: 0 while unknown, or if it did not commit
}

func (tx *transaction) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "transaction %d, end %s, sent %s, acknowledged ", tx.xid, tx.end, clock(tx.sent))
	if tx.acked.IsZero() {
		b.WriteString("never")
	} else {
		b.WriteString(clock(tx.acked))
	}
	if tx.async {
		b.WriteString(", asynchronous")
	}
	for _, e := range tx.effects {
		fmt.Fprintf(&b, "\n    %s", e)
	}
	return b.String()
}

// silent says that nothing of a transaction need be in the log that is decoded:
// it did nothing but with indexes.
func (tx *transaction) silent() bool {
	return !slices.ContainsFunc(tx.effects, func(e effect) bool {
		return !strings.HasPrefix(e.sql, "CREATE INDEX") && !strings.HasPrefix(e.sql, "DROP INDEX")
	})
}

func clock(t time.Time) string { return t.Format("05.000000") }

// erase and place are the effects of a row that goes and one that comes.
func (t *table) erase(row string) effect {
	return effect{fmt.Sprintf("DELETE FROM %s WHERE (%s) = (SELECT %s FROM (SELECT $1::%s AS r) s)",
		t.scanned(), columnNames(t.key, ""), columnNames(t.key, "(r)."), t.name), row, "-" + t.name}
}

func (t *table) place(row string) effect {
	return effect{fmt.Sprintf("INSERT INTO %s SELECT (r).* FROM (SELECT $1::%s AS r) s", t.name, t.name), row, "+" + t.name}
}

// scanned names the table's own rows: not those of a table that inherits from
// it, but those of its partitions.
func (t *table) scanned() string {
	if t.child != nil {
		return "ONLY " + t.name
	}
	return t.name
}

// replica is a second database, with the same tables, that is taken through the
// transactions one by one.
type replica struct {
	conn  *pgx.Conn
	s     *schema
	names map[*endpoint][]string // of the result's columns
}

func (r *replica) exec(ctx context.Context, sql string) error {
	if _, err := r.conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("replica: %w\nin: %s", err, sql)
	}
	return nil
}

// apply does what transactions did. It is one transaction of its own.
func (r *replica) apply(ctx context.Context, txs []*transaction) error {
	var b pgconn.Batch
	for _, tx := range txs {
		for _, e := range tx.effects {
			if e.name == "" {
				b.ExecParams(e.sql, nil, nil, nil, nil)
				clear(r.names) // it may be a definition
				continue
			}
			b.ExecParams(e.sql, [][]byte{[]byte(e.row)}, nil, nil, nil)
		}
	}
	if _, err := r.conn.PgConn().ExecBatch(ctx, &b).ReadAll(); err != nil {
		return fmt.Errorf("replica, from %s: %w", txs[0], err)
	}
	return nil
}

// result is what a query answers: the bytes, and whether there is such a thing.
type result struct {
	body  string
	found bool
}

func (r result) String() string {
	if !r.found {
		return "nothing"
	}
	return r.body
}

// query runs a request's SQL as it stands in the endpoint's file.
func (r *replica) query(ctx context.Context, q *request) (result, error) {
	sql, _ := q.ep.numbered()
	names := r.names[q.ep]
	if names == nil {
		d, err := r.conn.PgConn().Prepare(ctx, "", sql, nil)
		if err != nil {
			return result{}, fmt.Errorf("%w\nin: %s", err, sql)
		}
		for _, f := range d.Fields {
			names = append(names, f.Name)
		}
		r.names[q.ep] = names
	}
	res := r.conn.PgConn().ExecParams(ctx, asJSON(sql, len(names)), q.values(), nil, nil, nil).Read()
	if res.Err != nil {
		return result{}, fmt.Errorf("%w\nin: %s", res.Err, q)
	}
	return q.ep.assemble(names, res.Rows)
}

// asJSON returns SQL for each column of a query by itself, as JSON.
func asJSON(sql string, columns int) string {
	cols, aliases := make([]string, columns), make([]string, columns)
	for i := range columns {
		aliases[i] = fmt.Sprintf("c%d", i)
		cols[i] = fmt.Sprintf("to_json(%s)::text", aliases[i])
	}
	return fmt.Sprintf("SELECT %s FROM (%s) x(%s)", strings.Join(cols, ", "), sql, strings.Join(aliases, ", "))
}

// values are the parameters as the protocol takes them.
func (q *request) values() [][]byte {
	args := make([][]byte, len(q.args))
	for i, a := range q.args {
		if a != nil {
			args[i] = []byte(*a)
		}
	}
	return args
}

// assemble puts an answer together from the columns of its rows, each as JSON.
func (e *endpoint) assemble(names []string, values [][][]byte) (result, error) {
	var rows []string
	for _, row := range values {
		var b strings.Builder
		for i, v := range row {
			b.WriteByte("{,"[min(i, 1)])
			fmt.Fprintf(&b, `"%s":`, names[i])
			if v == nil {
				v = []byte("null")
			}
			b.Write(v)
		}
		rows = append(rows, b.String()+"}")
	}
	if !e.one {
		if e.unordered {
			slices.Sort(rows)
		}
		return result{"[" + strings.Join(rows, ",") + "]", true}, nil
	}
	switch len(rows) {
	case 0:
		return result{}, nil
	case 1:
		return result{rows[0], true}, nil
	}
	return result{}, fmt.Errorf("%d rows for one\n%s", len(rows), e.sql)
}

// comparable returns a body in the form that assemble gives it: without an order
// the rows are sorted, each as it is.
func (e *endpoint) comparable(body string) string {
	if !e.unordered || e.one {
		return body
	}
	var rows []json.RawMessage
	if err := json.Unmarshal([]byte(body), &rows); err != nil {
		return body // it compares unequal, and is shown
	}
	texts := make([]string, len(rows))
	for i, r := range rows {
		texts[i] = string(r)
	}
	slices.Sort(texts)
	return "[" + strings.Join(texts, ",") + "]"
}

// asReader runs f as the role that tidemark reads as.
func (r *replica) asReader(ctx context.Context, f func() error) error {
	if !r.s.restrict {
		return f()
	}
	if err := r.exec(ctx, "SET ROLE "+role); err != nil {
		return err
	}
	err := f()
	if reset := r.exec(ctx, "RESET ROLE"); err == nil {
		err = reset
	}
	return err
}

// without runs f and undoes what it did to the rows.
func (r *replica) without(ctx context.Context, f func() error) error {
	if err := r.exec(ctx, "BEGIN"); err != nil {
		return err
	}
	err := f()
	if undo := r.exec(ctx, "ROLLBACK"); err == nil {
		err = undo
	}
	clear(r.names)
	return err
}

// contents is everything in the tables, to compare two databases with.
func contents(ctx context.Context, conn *pgx.Conn, s *schema) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range s.tables {
		var all string
		err := conn.QueryRow(ctx, fmt.Sprintf("SELECT coalesce(string_agg(x::text, E'\\n' ORDER BY x::text COLLATE \"C\"), '') FROM %s x", t.scanned())).Scan(&all)
		if err != nil {
			return nil, err
		}
		out[t.name] = all
	}
	return out, nil
}
