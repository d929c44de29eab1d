package live

import (
	"fmt"
	"strconv"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Head is what a message of a change says beside its row.
type Head struct {
	// At is the offset of the message: the position of its transaction, and its
	// place in it, which a client knows as op_position.
	At  Offset
	XID revision.XID // 0: it is not said
	// Twin tells rows with one key apart; 0 is the first.
	Twin uint64
}

// Encoder writes the messages of one shape. It is immutable and safe for
// concurrent use.
//
// Its methods append messages to a buffer of messages, as they are in a Batch,
// and allocate nothing but room in it. When one fails, nothing was appended. Rows
// come in Postgres's text, intervals in the style postgres or iso_8601.
//
// The key of a row is "schema"."table"/"value"/"value" with one value for each
// column of the key, _ for null, each slash inside a part doubled, and so each
// dot of a name.
type Encoder struct {
	columns  []encoded
	key      []int  // columns, in the order of the key
	prefix   []byte // of a message, up to the values of the key
	relation []byte // the header of that name
	full     bool
}

type encoded struct {
	Column
	name   []byte // as a member of an object, up to the value
	hidden bool   // a later column has the name
}

// NewEncoder returns the encoder of a shape with these columns, in messages from
// schema and table. With full, updates and deletes carry whole rows.
func NewEncoder(schema, table string, columns []Column, full bool) (*Encoder, error) {
	e := &Encoder{full: full, columns: make([]encoded, len(columns))}
	for i, c := range columns {
		name := append(appendQuoted(nil, c.Name), ':')
		e.columns[i] = encoded{Column: c, name: name, hidden: shadowed(columns, i)}
		for len(e.key) < c.Key {
			e.key = append(e.key, -1)
		}
		if c.Key > 0 {
			e.key[c.Key-1] = i
		}
	}
	for n, i := range e.key {
		if i < 0 {
			return nil, fmt.Errorf("column %d of the key of %s.%s is not among the columns", n+1, schema, table)
		}
	}
	e.prefix = append(e.prefix, `{"key":"\"`...)
	e.prefix = appendKeyName(e.prefix, schema)
	e.prefix = append(e.prefix, `\".\"`...)
	e.prefix = appendKeyName(e.prefix, table)
	e.prefix = append(e.prefix, `\"`...)
	e.relation = append(e.relation, `,"relation":[`...)
	e.relation = append(appendQuoted(e.relation, schema), ',')
	e.relation = append(appendQuoted(e.relation, table), ']')
	return e, nil
}

// Layout returns where the rows of a relation hold the columns, for the methods
// that take it. A nil layout is that of rows which hold these columns in order.
func (e *Encoder) Layout(of *catalog.Relation) ([]int, error) {
	at := make([]int, len(e.columns))
	for i := range e.columns {
		if at[i] = of.Column(e.columns[i].Name); at[i] < 0 {
			return nil, fmt.Errorf("the log does not carry column %q of %s", e.columns[i].Name, of)
		}
	}
	return at, nil
}

// AppendChange appends what the shape's clients are told of a change of a row
// that was in the shape before it, is in it after it, or both. It returns how many
// messages that is: two for a new key, the second at the next index.
func (e *Encoder) AppendChange(b []byte, h Head, at []int, old, row change.Row, was, is bool) (_ []byte, n int, err error) {
	switch {
	case was && is:
		return e.AppendUpdate(b, h, at, old, row)
	case was:
		b, err = e.AppendDelete(b, h, at, old)
	case is:
		b, err = e.AppendInsert(b, h, at, row)
	default:
		return b, 0, nil
	}
	if err != nil {
		return b, 0, err
	}
	return b, 1, nil
}

// AppendInsert appends a row that is new in the shape.
func (e *Encoder) AppendInsert(b []byte, h Head, at []int, row change.Row) ([]byte, error) {
	start := len(b)
	b, err := e.appendRow(b, h, at, row, nil, whole)
	if err != nil {
		return b[:start], err
	}
	return e.appendHeaders(b, "insert", h), nil
}

// AppendDelete appends that a row is in the shape no more.
func (e *Encoder) AppendDelete(b []byte, h Head, at []int, old change.Row) ([]byte, error) {
	start := len(b)
	part := keyOnly
	if e.full {
		part = whole
	}
	b, err := e.appendRow(b, h, at, old, nil, part)
	if err != nil {
		return b[:start], err
	}
	return e.appendHeaders(b, "delete", h), nil
}

// AppendUpdate appends that a row of the shape has other values: nothing if none
// of the columns differs, and a delete and an insert at the next index if the key
// does. It returns the number of messages.
func (e *Encoder) AppendUpdate(b []byte, h Head, at []int, old, row change.Row) (_ []byte, n int, err error) {
	start := len(b)
	changed := false
	for i := range e.columns {
		if e.columns[i].hidden && e.columns[i].Key == 0 {
			continue
		}
		before, after := value(old, at, i), value(row, at, i)
		if before.Kind == change.Absent || after.Kind == change.Absent {
			return b, 0, e.absent(i)
		}
		if before.Equal(after) {
			continue
		}
		if changed = true; e.columns[i].Key > 0 {
			if b, err = e.AppendDelete(b, h, at, old); err == nil {
				h.At.Index++
				b, err = e.AppendInsert(b, h, at, row)
			}
			if err != nil {
				return b[:start], 0, err
			}
			return b, 2, nil
		}
	}
	if !changed {
		return b, 0, nil
	}
	part := keyAndChanged
	if e.full {
		part = whole
	}
	if b, err = e.appendRow(b, h, at, row, old, part); err != nil {
		return b[:start], 0, err
	}
	if e.full {
		b = append(b, `,"old_value":`...)
		b, _ = e.appendValues(b, at, old, row, changedOnly)
	}
	return e.appendHeaders(b, "update", h), 1, nil
}

// AppendSnapshot appends a row of a snapshot, twin as in Head.
func (e *Encoder) AppendSnapshot(b []byte, at []int, row change.Row, twin uint64) ([]byte, error) {
	start := len(b)
	b, err := e.appendRow(b, Head{Twin: twin}, at, row, nil, whole)
	if err != nil {
		return b[:start], err
	}
	b = append(b, `,"headers":{"operation":"insert"`...)
	return append(append(b, e.relation...), "}}"...), nil
}

// AppendMarked appends a row of a subset's snapshot.
func (e *Encoder) AppendMarked(b []byte, at []int, row change.Row, twin uint64, mark uint32) ([]byte, error) {
	start := len(b)
	b, err := e.AppendSnapshot(b, at, row, twin)
	if err != nil {
		return b[:start], err
	}
	b = append(b[:len(b)-2], `,"snapshot_mark":`...)
	return append(strconv.AppendUint(b, uint64(mark), 10), "}}"...), nil
}

// MarkLast says in the last of messages, that of a change, that it is the last
// one of its transaction for the shape.
func MarkLast(messages []byte) []byte {
	return append(messages[:len(messages)-2], `,"last":true}}`...)
}

// Key appends the key of a row, as its messages have it, to b.
func (e *Encoder) Key(b []byte, at []int, row change.Row, twin uint64) ([]byte, error) {
	start := len(b)
	const before = len(`{"key":"`)
	b = append(b, e.prefix[before:]...)
	b, err := e.appendKey(b, at, row, twin)
	if err != nil {
		return b[:start], err
	}
	return b, nil
}

// part says which columns of a row an object has.
type part byte

const (
	whole part = iota
	keyOnly
	keyAndChanged
	changedOnly
)

// appendRow appends a message up to its value.
func (e *Encoder) appendRow(b []byte, h Head, at []int, row, other change.Row, p part) ([]byte, error) {
	b = separate(b)
	b = append(b, e.prefix...)
	b, err := e.appendKey(b, at, row, h.Twin)
	if err != nil {
		return b, err
	}
	b = append(b, `","value":`...)
	return e.appendValues(b, at, row, other, p)
}

func (e *Encoder) appendKey(b []byte, at []int, row change.Row, twin uint64) ([]byte, error) {
	for _, i := range e.key {
		v := value(row, at, i)
		switch v.Kind {
		case change.Null:
			b = append(b, `/_`...)
		case change.Text:
			b = append(b, `/\"`...)
			b = e.columns[i].Type.appendKeyText(b, v.Text)
			b = append(b, `\"`...)
		default:
			return b, e.absent(i)
		}
	}
	if twin > 0 {
		b = strconv.AppendUint(append(b, '/'), twin, 10)
	}
	return b, nil
}

// appendValues appends the object of some columns of row; other is what changed
// ones differ from.
func (e *Encoder) appendValues(b []byte, at []int, row, other change.Row, p part) ([]byte, error) {
	b = append(b, '{')
	first := true
	for i := range e.columns {
		c := &e.columns[i]
		if c.hidden {
			continue
		}
		v := value(row, at, i)
		switch p {
		case keyOnly:
			if c.Key == 0 {
				continue
			}
		case keyAndChanged:
			if c.Key == 0 && v.Equal(value(other, at, i)) {
				continue
			}
		case changedOnly:
			if v.Equal(value(other, at, i)) {
				continue
			}
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, c.name...)
		switch v.Kind {
		case change.Null:
			b = append(b, "null"...)
		case change.Text:
			b = c.Type.appendString(b, v.Text)
		default:
			return b, e.absent(i)
		}
	}
	return append(b, '}'), nil
}

// appendHeaders ends the message of a change.
func (e *Encoder) appendHeaders(b []byte, operation string, h Head) []byte {
	b = append(append(b, `,"headers":{"operation":"`...), operation...)
	b = append(b, '"')
	b = append(b, e.relation...)
	b = strconv.AppendUint(append(b, `,"lsn":"`...), uint64(h.At.LSN), 10)
	b = strconv.AppendUint(append(b, `","op_position":`...), h.At.Index, 10)
	if h.XID != 0 {
		// Clients compare it with the 32 bits that pg_current_xact_id()::xid has,
		// and widen it themselves.
		b = strconv.AppendUint(append(b, `,"txids":[`...), uint64(uint32(h.XID)), 10)
		b = append(b, ']')
	}
	return append(b, "}}"...)
}

func (e *Encoder) absent(i int) error {
	return fmt.Errorf("the log does not say what column %q holds", e.columns[i].Name)
}

// value returns column i of the shape in a row.
func value(row change.Row, at []int, i int) change.Value {
	if at != nil {
		i = at[i]
	}
	if i >= len(row) {
		return change.Value{}
	}
	return row[i]
}

// appendString appends a value as a JSON string.
func (t *Type) appendString(b, text []byte) []byte {
	if t != nil && t.interval {
		if t.OID == intervalOID {
			var short [64]byte
			return appendQuoted(b, appendInterval(short[:0], text))
		}
		text = t.AppendText(nil, text)
	}
	return appendQuoted(b, text)
}

// appendKeyText appends a value as it stands in a key, within a JSON string.
func (t *Type) appendKeyText(b, text []byte) []byte {
	if t != nil && t.interval {
		text = t.AppendText(nil, text)
	}
	from := 0
	for i, c := range text {
		if c == '/' {
			b = append(appendEscaped(b, text[from:i]), '/')
			from = i
		}
	}
	return appendEscaped(b, text[from:])
}

// appendKeyName appends a part of a relation's name as it stands in a key.
func appendKeyName(b []byte, name string) []byte {
	from := 0
	for i := range len(name) {
		if c := name[i]; c == '/' || c == '.' {
			b = append(appendEscaped(b, name[from:i]), c)
			from = i
		}
	}
	return appendEscaped(b, name[from:])
}

// separate begins another message.
func separate(b []byte) []byte {
	if len(b) > 0 {
		return append(b, ',', '\n')
	}
	return b
}
