package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// filling is one transaction that computes answers of one endpoint: the
// statement, then, for what its rows do not tell, the statements for keys.
type filling struct {
	endpoint *query.Endpoint
	tables   []match.Dependency // not nil: whole tables, for an endpoint that is not trusted with less
	answers  []*computed
	// variants are the numbers of the answers of each variant.
	variants map[query.Variant][]int
	res      answer.Result // what all have in common
	snapshot string        // as the database wrote it
	pinned   bool          // it is one of before
	size     int
}

// computed is one answer of a filling.
type computed struct {
	binding *query.Binding
	body    []byte // the rows as an array, or the only one
	ends    []int  // where each row ends in body
	hidden  []change.Row
	placed  query.Placed
	keys    []query.KeyRows
}

func newFilling(sources []*source) *filling {
	f := &filling{
		endpoint: sources[0].binding.Endpoint, tables: sources[0].tables,
		variants: map[query.Variant][]int{},
	}
	for i, s := range sources {
		v := query.Plain
		if f.tables == nil {
			v = s.binding.Variant()
		}
		f.variants[v] = append(f.variants[v], i)
		f.answers = append(f.answers, &computed{binding: s.binding, keys: make([]query.KeyRows, f.keyStatements())})
	}
	return f
}

func (f *filling) keyStatements() int {
	if f.tables != nil {
		return 0
	}
	return f.endpoint.KeyStatements()
}

// statement names one prepared statement of a connection.
type statement struct {
	endpoint *query.Endpoint
	variant  query.Variant
	key      int // 0 for the rows, else one more than the number of the key statement
	many     bool
}

func (st statement) sql() string {
	if st.key > 0 {
		return st.endpoint.KeyStatement(st.key-1, st.many)
	}
	return st.endpoint.Statement(st.variant, st.many)
}

// oidTextArray is the type of the parameters of statements for many bindings.
const oidTextArray = 1009

func (st statement) types() []uint32 {
	types := st.endpoint.ParamTypes()
	if st.key > 0 {
		types = st.endpoint.KeyTypes()
	}
	if st.many {
		for i := range types {
			types[i] = oidTextArray
		}
	}
	return types
}

// prepare prepares a statement on a connection that has not got it.
func (own *fillConn) prepare(ctx context.Context, conn *pgconn.PgConn, st statement) (string, error) {
	if name, ok := own.prepared[st]; ok {
		return name, nil
	}
	name := fmt.Sprintf("tm_%d", len(own.prepared))
	if _, err := conn.Prepare(ctx, name, st.sql(), st.types()); err != nil {
		return "", err
	}
	own.prepared[st] = name
	return name, nil
}

// run computes the answers in one transaction. Where the statements for keys do
// not depend on the rows, it is one round trip.
func (f *filling) run(ctx context.Context, conn *pgconn.PgConn, pin *answer.Pin) error {
	own := conn.CustomData()["tidemark"].(*fillConn) // set by prepareFill
	b := &batch{conn: conn, own: own}
	b.add(stmtBegin, nil)
	if f.pinned = pin != nil; f.pinned {
		b.ExecParams("SET TRANSACTION SNAPSHOT "+quoteLiteral(pin.ID), nil, nil, nil, nil)
		b.readers = append(b.readers, nil)
	}
	b.add(stmtSnapshot, f.readSnapshot)
	for v, which := range f.variants {
		st := statement{endpoint: f.endpoint, variant: v, many: len(f.answers) > 1}
		if err := b.addStatement(ctx, st, f.args(which, nil), f.rowReader(which, st.many, f.endpoint.HiddenColumns(v))); err != nil {
			return err
		}
	}
	placed := len(f.endpoint.KeyTypes()) > len(f.endpoint.Params)
	if f.keyStatements() > 0 && placed {
		if err := b.run(ctx); err != nil {
			return err
		}
		f.place()
		b = &batch{conn: conn, own: own}
	}
	for i := range f.keyStatements() {
		all := make([]int, len(f.answers))
		for n := range all {
			all[n] = n
		}
		var more func(*computed) [][]byte
		if placed {
			more = func(c *computed) [][]byte { return c.placed.Args }
		}
		st := statement{endpoint: f.endpoint, key: i + 1, many: len(f.answers) > 1}
		if err := b.addStatement(ctx, st, f.args(all, more), f.keyReader(i, st.many)); err != nil {
			return err
		}
	}
	b.add(stmtCommit, nil)
	b.add(stmtAfter, f.readAfter)
	if err := b.run(ctx); err != nil {
		return err
	}
	if f.keyStatements() == 0 || !placed {
		f.place()
	}
	f.res.Source.SystemID = own.system
	return nil
}

// batch is a list of statements that are sent at once, with what reads each
// one's result.
type batch struct {
	pgconn.Batch
	conn    *pgconn.PgConn
	own     *fillConn
	readers []func(*pgconn.ResultReader) error
}

func (b *batch) add(name string, read func(*pgconn.ResultReader) error) {
	b.ExecPrepared(name, nil, nil, nil)
	b.readers = append(b.readers, read)
}

func (b *batch) addStatement(ctx context.Context, st statement, args [][]byte, read func(*pgconn.ResultReader) error) error {
	name, err := b.own.prepare(ctx, b.conn, st)
	if err != nil {
		return err
	}
	b.ExecPrepared(name, args, nil, nil)
	b.readers = append(b.readers, read)
	return nil
}

func (b *batch) run(ctx context.Context) error {
	results := b.conn.ExecBatch(ctx, &b.Batch)
	var failed error
	for i := 0; results.NextResult(); i++ {
		r := results.ResultReader()
		if read := b.readers[i]; read != nil && failed == nil {
			failed = read(r)
		}
		// What the server says of a statement counts more than what is missing of
		// its result.
		if _, err := r.Close(); err != nil {
			failed = err
			break
		}
	}
	if err := results.Close(); err != nil {
		return err
	}
	return failed
}

// args returns the parameters of a statement for some of the answers, as arrays
// when the filling has several.
func (f *filling) args(which []int, more func(*computed) [][]byte) [][]byte {
	all := func(c *computed) [][]byte {
		if more == nil {
			return c.binding.Args
		}
		return append(c.binding.Args[:len(c.binding.Args):len(c.binding.Args)], more(c)...)
	}
	first := all(f.answers[which[0]])
	if len(f.answers) == 1 {
		return first
	}
	out := make([][]byte, len(first))
	column := make([][]byte, len(which))
	rows := make([][][]byte, len(which))
	for n, i := range which {
		rows[n] = all(f.answers[i])
	}
	for p := range out {
		for n := range rows {
			column[n] = rows[n][p]
		}
		out[p] = query.ArrayText(column)
	}
	return out
}

func (f *filling) readSnapshot(r *pgconn.ResultReader) (err error) {
	if !r.NextRow() {
		return errors.New("the snapshot is missing")
	}
	v := r.Values()
	f.snapshot = string(v[0])
	if f.res.Snapshot, err = revision.ParseSnapshot(f.snapshot); err != nil {
		return err
	}
	if f.res.Upper, err = revision.ParseLSN(string(v[1])); err != nil {
		return err
	}
	f.res.Source.Timeline, err = parseTimeline(string(v[2]))
	return err
}

// readAfter reads where the log was when the query was done. Where no transaction
// has ended since its snapshot, none can show in the result without being in the
// snapshot, and what else is in the log by now does not matter: often it is what
// the query itself tidied up in the table, and nobody is going to flush that soon.
func (f *filling) readAfter(r *pgconn.ResultReader) (err error) {
	if !r.NextRow() {
		return errors.New("the position is missing")
	}
	v := r.Values()
	if f.res.After, err = revision.ParseLSN(string(v[1])); err == nil && !f.pinned && f.snapshot == string(v[0]) {
		f.res.After = f.res.Upper
	}
	return err
}

// number reads the number of a binding in front of a row, from 1.
func number(text []byte, which []int) (int, error) {
	n := 0
	for _, c := range text {
		if c < '0' || c > '9' || n > len(which) {
			return 0, errors.New("a row of no binding")
		}
		n = 10*n + int(c-'0')
	}
	if n < 1 || n > len(which) {
		return 0, errors.New("a row of no binding")
	}
	return which[n-1], nil
}

func (f *filling) rowReader(which []int, many bool, hidden int) func(*pgconn.ResultReader) error {
	return func(r *pgconn.ResultReader) error {
		for r.NextRow() {
			values := r.Values()
			c := f.answers[which[0]]
			if many {
				i, err := number(values[0], which)
				if err != nil {
					return err
				}
				c, values = f.answers[i], values[1:]
			}
			if f.size += len(values[0]); f.size > maxAnswer {
				return fmt.Errorf("%w: over %d MiB", ErrAnswerTooLarge, maxAnswer>>20)
			}
			if len(c.ends) > 0 {
				c.body = append(c.body, ',')
			} else {
				c.body = append(c.body, '[')
			}
			c.body = append(c.body, values[0]...)
			c.ends = append(c.ends, len(c.body))
			if hidden > 0 {
				c.hidden = append(c.hidden, copyRow(values[1:]))
			}
		}
		return nil
	}
}

func (f *filling) keyReader(key int, many bool) func(*pgconn.ResultReader) error {
	return func(r *pgconn.ResultReader) error {
		for r.NextRow() {
			values := r.Values()
			c := f.answers[0]
			if many {
				n, err := number(values[0], f.all())
				if err != nil {
					return err
				}
				c, values = f.answers[n], values[1:]
			}
			k := &c.keys[key]
			switch {
			case k.Cut:
			case len(k.Rows) == query.MaxKeyRows:
				k.Rows, k.Cut = nil, true
			default:
				k.Rows = append(k.Rows, copyRow(values))
			}
		}
		return nil
	}
}

func (f *filling) all() []int {
	all := make([]int, len(f.answers))
	for i := range all {
		all[i] = i
	}
	return all
}

// copyRow keeps values beyond the call that reads them.
func copyRow(values [][]byte) change.Row {
	n := 0
	for _, v := range values {
		n += len(v)
	}
	text := make([]byte, 0, n)
	row := make(change.Row, len(values))
	for i, v := range values {
		if v == nil {
			row[i].Kind = change.Null
			continue
		}
		start := len(text)
		text = append(text, v...)
		row[i] = change.Value{Kind: change.Text, Text: text[start:len(text):len(text)]}
	}
	return row
}

func (f *filling) place() {
	for _, c := range f.answers {
		if f.tables != nil {
			c.placed = query.Placed{To: len(c.ends)}
		} else {
			c.placed = c.binding.Place(c.rows())
		}
	}
}

// rows returns the rows of the answer's statement, as parts of its body.
func (c *computed) rows() []patch.Row {
	rows := make([]patch.Row, len(c.ends))
	start := 1
	for i, end := range c.ends {
		rows[i].JSON = c.body[start:end:end]
		if c.hidden != nil {
			rows[i].Hidden = c.hidden[i]
		}
		start = end + 1
	}
	return rows
}

// results returns the answers as the store takes them.
func (f *filling) results() ([]answer.Result, error) {
	out := make([]answer.Result, len(f.answers))
	for i, c := range f.answers {
		out[i] = f.res
		r := &out[i]
		from, to := c.placed.From, c.placed.To
		if f.endpoint.One && to-from > 1 {
			return nil, ErrSeveralRows
		}
		if f.tables != nil {
			r.Deps = f.tables
		} else {
			r.Deps = c.binding.Refine(c.placed, c.keys)
			r.State = c.binding.Follow(c.rows())
		}
		if r.State != nil {
			r.Body, r.Found = r.State.Body()
			continue
		}
		c.show(r, from, to, f.endpoint.One)
	}
	return out, nil
}

// show makes the body of the rows from and before two numbers. It is exactly as
// long as it is: slack would be held with the answer.
func (c *computed) show(r *answer.Result, from, to int, one bool) {
	var rows []byte
	if from < to {
		start := 1
		if from > 0 {
			start = c.ends[from-1] + 1
		}
		rows = c.body[start:c.ends[to-1]]
	}
	r.Found = !one || from < to
	switch {
	case one && !r.Found:
	case one:
		r.Body = append(make([]byte, 0, len(rows)), rows...)
	default:
		r.Body = append(append(append(make([]byte, 0, len(rows)+2), '['), rows...), ']')
	}
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
