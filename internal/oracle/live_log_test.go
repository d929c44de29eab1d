package oracle

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// liveSettings are those under which values are text.
const liveSettings = "SET bytea_output = hex; SET DateStyle = 'ISO, DMY'; SET TimeZone = 'UTC'; SET IntervalStyle = iso_8601; SET extra_float_digits = 1"

// row is a row by column.
type row map[string]*string

func (r row) text() string {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func sameValue(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// rowChange is one change in the log; a row that is nil is not there before, or
// after it.
type rowChange struct {
	relation  string
	old, new  row
	truncates bool
}

func (ch rowChange) String() string {
	return fmt.Sprintf("%s: %s becomes %s", ch.relation, ch.old.text(), ch.new.text())
}

// logged is a transaction with what it did to rows.
type logged struct {
	commit
	changes []rowChange
	size    int // bytes in the log's own form
}

// readRows reads what was committed since the slot was made, with its rows. It
// knows of the protocol what FULL identities need: see "Logical Replication
// Message Formats" of the Postgres manual.
func readRows(ctx context.Context, conn *pgx.Conn) ([]logged, error) {
	if _, err := conn.Exec(ctx, liveSettings, pgx.QueryExecModeSimpleProtocol); err != nil {
		return nil, err
	}
	rows, err := conn.Query(ctx, `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
		'proto_version', '1', 'publication_names', $2, 'messages', 'true')`, orderSlot, orderPublication)
	if err != nil {
		return nil, err
	}
	type relation struct {
		name string
		cols []string
	}
	relations := map[uint32]relation{}
	var all []logged
	var open logged
	var size int
	var data []byte
	_, err = pgx.ForEachRow(rows, []any{&data}, func() error {
		c := cursor(bytes.Clone(data))
		size += len(data)
		switch kind := c.byte(); kind {
		case 'B':
			size = 0
			open = logged{commit: commit{lsn: revision.LSN(c.int64())}}
			c.int64()
			open.xid = c.int32()
		case 'C':
			c.byte()
			c.int64()
			open.end = revision.LSN(c.int64())
			open.size = size
			open.at = epoch.Add(time.Duration(c.int64()) * time.Microsecond)
			all = append(all, open)
		case 'R':
			id := c.int32()
			c.string()
			rel := relation{name: c.string()}
			c.byte()
			for range c.int16() {
				c.byte()
				rel.cols = append(rel.cols, c.string())
				c.int64() // type and modifier
			}
			relations[id] = rel
		case 'I', 'U', 'D':
			rel := relations[c.int32()]
			ch := rowChange{relation: rel.name}
			for len(c) > 0 {
				switch part := c.byte(); part {
				case 'O':
					ch.old = c.row(rel.cols, nil)
				case 'N':
					ch.new = c.row(rel.cols, ch.old)
				default:
					return fmt.Errorf("table %s has no full identity: %q", rel.name, part)
				}
			}
			open.changes = append(open.changes, ch)
		case 'T':
			n := c.int32()
			c.byte()
			for range n {
				open.changes = append(open.changes, rowChange{relation: relations[c.int32()].name, truncates: true})
			}
		case 'Y', 'O', 'M':
		default:
			return fmt.Errorf("message %q", kind)
		}
		return nil
	})
	return all, err
}

// cursor reads a message.
type cursor []byte

func (c *cursor) next(n int) []byte {
	b := (*c)[:n]
	*c = (*c)[n:]
	return b
}

func (c *cursor) byte() byte    { return c.next(1)[0] }
func (c *cursor) int16() uint16 { return binary.BigEndian.Uint16(c.next(2)) }
func (c *cursor) int32() uint32 { return binary.BigEndian.Uint32(c.next(4)) }
func (c *cursor) int64() uint64 { return binary.BigEndian.Uint64(c.next(8)) }

func (c *cursor) string() string {
	s := string(c.next(bytes.IndexByte(*c, 0)))
	c.byte()
	return s
}

// row reads a row; what it leaves out, since it is large and did not change, is
// in the old one.
func (c *cursor) row(cols []string, old row) row {
	r := row{}
	for i := range int(c.int16()) {
		switch c.byte() {
		case 'n':
			r[cols[i]] = nil
		case 'u':
			r[cols[i]] = old[cols[i]]
		default:
			s := string(c.next(int(c.int32())))
			r[cols[i]] = &s
		}
	}
	return r
}

// wanted is a message that the log says a shape has.
type wanted struct {
	operation  string
	key        string
	value, old row
}

func (w wanted) String() string {
	s := fmt.Sprintf("%s of %s with %s", w.operation, w.key, w.value.text())
	if w.old != nil {
		s += " instead of " + w.old.text()
	}
	return short(s)
}

// wantedTx is what a transaction is to a shape; over says that it ends the shape.
type wantedTx struct {
	commit
	messages []wanted
	over     bool
}

// wants derives from the log what a shape of a table has of each transaction that
// touches it.
func (j *liveJudge) wants(sh *liveShape) []wantedTx {
	passes := j.passing(sh)
	var all []wantedTx
	for i := range j.log {
		tx := wantedTx{commit: j.log[i].commit}
		for _, ch := range j.log[i].changes {
			if !slices.Contains(sh.rel.feeds, ch.relation) {
				continue
			}
			if ch.truncates {
				tx.over = true
				continue
			}
			was, is := ch.old != nil && passes[sh.tested(ch.old)], ch.new != nil && passes[sh.tested(ch.new)]
			tx.messages = append(tx.messages, sh.expect(ch, was, is)...)
		}
		if tx.over || len(tx.messages) > 0 {
			all = append(all, tx)
		}
	}
	return all
}

// expect returns the messages of one change.
func (sh *liveShape) expect(ch rowChange, was, is bool) []wanted {
	w := func(op string, r row, value row) wanted { return wanted{operation: op, key: sh.key(r), value: value} }
	whole := func(r row) row {
		if sh.full {
			return sh.visible(r)
		}
		return sh.keyOnly(r)
	}
	switch {
	case was && is && sh.key(ch.old) != sh.key(ch.new):
		return []wanted{w("delete", ch.old, whole(ch.old)), w("insert", ch.new, sh.visible(ch.new))}
	case was && is:
		before, after, changed := sh.visible(ch.old), sh.visible(ch.new), row{}
		m := w("update", ch.new, sh.keyOnly(ch.new))
		for name, v := range after {
			if !sameValue(v, before[name]) {
				changed[name] = before[name]
				m.value[name] = v
			}
		}
		if len(changed) == 0 {
			return nil
		}
		if sh.full {
			m.value, m.old = after, changed
		}
		return []wanted{m}
	case was:
		return []wanted{w("delete", ch.old, whole(ch.old))}
	case is:
		return []wanted{w("insert", ch.new, sh.visible(ch.new))}
	}
	return nil
}

// visible returns the columns of a row that the shape shows.
func (sh *liveShape) visible(r row) row {
	out := row{}
	for name, v := range r {
		if sh.shows(name) {
			out[name] = v
		}
	}
	return out
}

func (sh *liveShape) shows(column string) bool {
	if sh.columns != nil {
		return slices.Contains(sh.columns, column)
	}
	// A table that inherits has a column of its own.
	c := sh.rel.t.child
	return c == nil || slices.Contains(names(sh.rel.columns), column) || !slices.Contains(names(c.cols), column)
}

func (sh *liveShape) keyOnly(r row) row {
	out := row{}
	for _, c := range sh.rel.t.key {
		out[c.name] = r[c.name]
	}
	return out
}

func (sh *liveShape) key(r row) string {
	var key []string
	for _, c := range sh.rel.t.key {
		v := "_"
		if r[c.name] != nil {
			v = `"` + strings.ReplaceAll(*r[c.name], "/", "//") + `"`
		}
		key = append(key, v)
	}
	return `"public"."` + sh.rel.name + `"/` + strings.Join(key, "/")
}

// tested is a row as far as the condition of a shape may look at it.
func (sh *liveShape) tested(r row) string {
	out := row{}
	for _, c := range sh.rel.columns {
		out[c.name] = r[c.name]
	}
	return out.text()
}

// passing asks Postgres which of the rows in the log meet a shape's condition.
func (j *liveJudge) passing(sh *liveShape) map[string]bool {
	distinct := map[string]int{}
	var list []json.RawMessage
	for i := range j.log {
		for _, ch := range j.log[i].changes {
			if !slices.Contains(sh.rel.feeds, ch.relation) {
				continue
			}
			for _, r := range []row{ch.old, ch.new} {
				if r == nil {
					continue
				}
				text := sh.tested(r)
				if _, ok := distinct[text]; !ok {
					distinct[text] = len(list)
					list = append(list, json.RawMessage(fmt.Sprintf(`{"i":%d,%s`, len(list), text[1:])))
				}
			}
		}
	}
	raw, typed := []string{"i int"}, []string{"i"}
	for _, c := range sh.rel.columns {
		raw = append(raw, c.name+" text")
		typed = append(typed, fmt.Sprintf("%s::%s AS %s", c.name, c.kind.sql, c.name))
	}
	if list == nil {
		list = []json.RawMessage{}
	}
	text, err := json.Marshal(list)
	if err != nil {
		j.Fatal(err)
	}
	n := len(sh.params)
	sql := fmt.Sprintf("SELECT i FROM (SELECT %s FROM json_to_recordset($%d::json) AS raw(%s)) AS %s WHERE %s",
		strings.Join(typed, ", "), n+1, strings.Join(raw, ", "), sh.rel.name, sh.condition)
	res := j.rep.conn.PgConn().ExecParams(context.Background(), sql, append(slices.Clone(sh.params), text), nil, nil, nil).Read()
	if res.Err != nil {
		j.Fatalf("%v\nin: %s\n%s", res.Err, sql, sh)
	}
	meets := map[string]bool{}
	for _, r := range res.Rows {
		meets[string(r[0])] = true
	}
	passes := map[string]bool{}
	for text, i := range distinct {
		passes[text] = meets[itoa(i)]
	}
	return passes
}
