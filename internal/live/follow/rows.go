package follow

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/record"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// table holds the rows of an answer while they are worked on: the values of each
// row as JSON, one row after the other, and which of the rows with its key each
// one is.
type table struct {
	columns int
	cells   [][]byte
	twins   []uint64
}

func (t *table) len() int { return len(t.twins) }

func (t *table) row(i int) [][]byte { return t.cells[i*t.columns : (i+1)*t.columns] }

func (t *table) add(row [][]byte, twin uint64) {
	t.cells = append(t.cells, row...)
	t.twins = append(t.twins, twin)
}

// parse reads an answer. Rows with equal keys are numbered in the order of their
// bytes, so that it depends on nothing but the rows.
func (d *Definition) parse(body []byte) (*table, error) {
	t := &table{columns: len(d.names)}
	if len(body) == 0 {
		return t, nil // one row was promised, and there is none
	}
	if err := live.SplitAnswer(body, d.names, func(row [][]byte) error {
		t.add(row, 0)
		return nil
	}); err != nil {
		return nil, err
	}
	first := make(map[string]int, t.len())
	var more map[string][]int // all rows of keys that have several
	var key []byte
	for i := range t.len() {
		key = d.appendKey(key[:0], t.row(i), 0)
		at, again := first[string(key)]
		if !again {
			first[string(key)] = i
			continue
		}
		if more == nil {
			more = map[string][]int{}
		}
		if more[string(key)] == nil {
			more[string(key)] = []int{at}
		}
		more[string(key)] = append(more[string(key)], i)
	}
	for _, rows := range more {
		slices.SortFunc(rows, func(i, j int) int { return slices.CompareFunc(t.row(i), t.row(j), bytes.Compare) })
		for n, i := range rows {
			t.twins[i] = uint64(n)
		}
	}
	return t, nil
}

// appendKey appends what no other row of a table has.
func (d *Definition) appendKey(b []byte, row [][]byte, twin uint64) []byte {
	for _, i := range d.key {
		b = record.AppendText(b, row[i])
	}
	return binary.AppendUvarint(b, twin)
}

// index returns the rows of a table by their keys.
func (d *Definition) index(t *table) map[string]int {
	out := make(map[string]int, t.len())
	var key []byte
	for i := range t.len() {
		key = d.appendKey(key[:0], t.row(i), t.twins[i])
		out[string(key)] = i
	}
	return out
}

// step is one row of a difference. Of an insert there is no old row, of a delete
// no new one.
type step struct {
	op       change.Op
	twin     uint64
	old, row [][]byte
}

// difference returns how rows become others: what is deleted, then what is
// updated, then what is inserted.
func (d *Definition) difference(from, to *table) []step {
	before := d.index(from)
	var updates, inserts []step
	var key []byte
	for i := range to.len() {
		row := to.row(i)
		key = d.appendKey(key[:0], row, to.twins[i])
		was, found := before[string(key)]
		if !found {
			inserts = append(inserts, step{change.Insert, to.twins[i], nil, row})
			continue
		}
		delete(before, string(key))
		if old := from.row(was); !slices.EqualFunc(old, row, bytes.Equal) {
			updates = append(updates, step{change.Update, to.twins[i], old, row})
		}
	}
	var steps []step
	if len(before) > 0 {
		gone := make([]int, 0, len(before))
		for _, i := range before {
			gone = append(gone, i)
		}
		slices.Sort(gone)
		for _, i := range gone {
			steps = append(steps, step{change.Delete, from.twins[i], from.row(i), nil})
		}
	}
	return append(append(steps, updates...), inserts...)
}

// entry is one difference as followers receive it.
type entry struct {
	lsn    revision.LSN // from which on the answer has these rows
	first  uint64       // index of the first message
	count  uint64       // of messages
	text   []byte       // as in a Batch
	topics []string     // of each message; nil: there is only the whole answer
}

// last returns the offset of the last message.
func (e *entry) last() live.Offset { return live.Offset{LSN: e.lsn, Index: e.first + e.count - 1} }

// offset returns the offset of a message.
func (e *entry) offset(n uint64) live.Offset { return live.Offset{LSN: e.lsn, Index: e.first + n} }

// encode makes the messages of a difference, the first of which is at an offset,
// and returns the steps that have one. An xid is that of the transaction that the
// difference is of, or 0.
func (d *Definition) encode(steps []step, first live.Offset, xid revision.XID) (*entry, []step, error) {
	e := &entry{lsn: first.LSN, first: first.Index}
	var told []step
	var old, row change.Row
	var oldText, rowText []byte
	for _, s := range steps {
		var err error
		if s.old != nil {
			if old, oldText, err = d.text(s.old, old, oldText); err != nil {
				return nil, nil, err
			}
		}
		if s.row != nil {
			if row, rowText, err = d.text(s.row, row, rowText); err != nil {
				return nil, nil, err
			}
		}
		h := live.Head{At: e.offset(e.count), XID: xid, Twin: s.twin}
		n, of := 1, row
		switch s.op {
		case change.Delete:
			of = old
			e.text, err = d.encoder.AppendDelete(e.text, h, nil, old)
		case change.Insert:
			e.text, err = d.encoder.AppendInsert(e.text, h, nil, row)
		default:
			e.text, n, err = d.encoder.AppendUpdate(e.text, h, nil, old, row)
		}
		if err != nil {
			return nil, nil, err
		}
		if n == 0 {
			continue // it reads the same
		}
		for range n {
			if d.Account >= 0 {
				e.topics = append(e.topics, d.topic(of))
			}
		}
		e.count += uint64(n)
		told = append(told, s)
	}
	if e.count > 0 {
		e.text = live.MarkLast(e.text)
	}
	return e, told, nil
}

var errPacked = errors.New("a row is not as it was written")

// appendRow appends a row in the form that files have.
func appendRow(b []byte, row [][]byte, twin uint64) []byte {
	b = binary.AppendUvarint(b, twin)
	for _, c := range row {
		b = record.AppendText(b, c)
	}
	return b
}

// readRow reads what appendRow wrote. The values are parts of it.
func readRow(r *record.Reader, row [][]byte) (twin uint64, err error) {
	twin = r.Uvarint()
	for i := range row {
		row[i] = r.Text()
	}
	if r.Bad {
		return 0, errPacked
	}
	return twin, nil
}

// pack returns a table's rows in the form that files have.
func (t *table) pack() []byte {
	var b []byte
	for i := range t.len() {
		b = appendRow(b, t.row(i), t.twins[i])
	}
	return b
}

// unpack reads what pack wrote.
func (d *Definition) unpack(b []byte) (*table, error) {
	t := &table{columns: len(d.names)}
	row := make([][]byte, t.columns)
	for r := (record.Reader{Rest: b}); len(r.Rest) > 0; {
		twin, err := readRow(&r, row)
		if err != nil {
			return nil, err
		}
		t.add(row, twin)
	}
	return t, nil
}

// apply takes a table through steps. Rows change their order.
func (d *Definition) apply(t *table, steps []step) (*table, error) {
	index := d.index(t)
	gone := map[int]bool{}
	var key []byte
	for _, s := range steps {
		of := s.row
		if s.op == change.Delete {
			of = s.old
		}
		key = d.appendKey(key[:0], of, s.twin)
		at, found := index[string(key)]
		if found == (s.op == change.Insert) {
			return nil, errPacked
		}
		switch s.op {
		case change.Delete:
			gone[at] = true
			delete(index, string(key))
		case change.Update:
			copy(t.row(at), s.row)
		default:
			index[string(key)] = t.len()
			t.add(s.row, s.twin)
		}
	}
	if len(gone) == 0 {
		return t, nil
	}
	out := &table{columns: t.columns}
	for i := range t.len() {
		if !gone[i] {
			out.add(t.row(i), t.twins[i])
		}
	}
	return out, nil
}
