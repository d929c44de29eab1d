package keep

import (
	"bytes"
	"encoding/binary"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live/record"
)

const (
	valueAbsent = iota
	valueNull
	valueSame
	valueText
)

// appendChange encodes one change, skip changes after the one before.
func appendChange(b []byte, c *change.Change, id, skip uint64) []byte {
	start := len(b)
	b = append(b, 0, 0, 0, 0, byte(c.Op))
	b = binary.AppendUvarint(b, skip)
	b = binary.AppendUvarint(b, id)
	b = appendRow(b, c.Old, nil)
	b = appendRow(b, c.New, c.Old)
	order.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendRow(b []byte, row, old change.Row) []byte {
	if row == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(row))+1)
	for i := range row {
		v := &row[i]
		switch v.Kind {
		case change.Null:
			b = append(b, valueNull)
		case change.Text:
			if i < len(old) && old[i].Kind == change.Text && bytes.Equal(old[i].Text, v.Text) {
				b = append(b, valueSame)
				continue
			}
			b = binary.AppendUvarint(b, uint64(len(v.Text))+valueText)
			b = append(b, v.Text...)
		default:
			b = append(b, valueAbsent)
		}
	}
	return b
}

// decoder decodes changes into memory that the next one reuses.
type decoder struct {
	c        change.Change
	old, new change.Row
}

// all calls yield with the changes of a frame at or after from, of certain tables.
// The numbering begins at index.
func (d *decoder) all(b []byte, index, from uint64, relations []*catalog.Relation, tables map[catalog.OID]bool,
	yield func(uint64, *change.Change) (bool, error),
) (more bool, err error) {
	r := record.Reader{Rest: b}
	for len(r.Rest) > 0 {
		c := record.Reader{Rest: r.Bytes(uint64(r.Uint32()))}
		d.c = change.Change{Op: change.Op(c.Byte())}
		index += c.Uvarint()
		id := c.Uvarint()
		if r.Bad || c.Bad || id >= uint64(len(relations)) {
			return false, errFrame
		}
		d.c.Relation = relations[id]
		at := index
		if counts(&d.c) {
			index++
		}
		if at < from || tables != nil && id != 0 && !tables[d.c.Relation.OID] {
			continue
		}
		d.old, d.c.Old = readRow(&c, d.old, nil)
		d.new, d.c.New = readRow(&c, d.new, d.c.Old)
		if c.Bad || len(c.Rest) > 0 {
			return false, errFrame
		}
		if more, err := yield(at, &d.c); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// readRow decodes a row into buf, and returns both.
func readRow(r *record.Reader, buf, old change.Row) (memory, row change.Row) {
	n := r.Uvarint()
	if n == 0 {
		return buf, nil
	}
	n--
	if n > uint64(len(r.Rest)) {
		r.Fail()
		return buf, nil
	}
	if buf == nil || uint64(cap(buf)) < n {
		buf = make(change.Row, n)
	}
	buf = buf[:n]
	for i := range buf {
		switch k := r.Uvarint(); k {
		case valueAbsent:
			buf[i] = change.Value{}
		case valueNull:
			buf[i] = change.Value{Kind: change.Null}
		case valueSame:
			if i >= len(old) {
				r.Fail()
				return buf, nil
			}
			buf[i] = old[i]
		default:
			buf[i] = change.Value{Kind: change.Text, Text: r.Bytes(k - valueText)}
		}
	}
	return buf, buf
}

// counts reports whether a change is counted in the numbering of its
// transaction. Descriptions of tables are not: which ones a session of the log
// sends, and before which change, is another thing each time that it delivers
// the same transaction. A description has the number of the change after it.
func counts(c *change.Change) bool { return c.Op != change.Define || c.Relation == nil }

// Number calls yield with all changes of a transaction, numbered as Tx.Each
// numbers those that are kept.
func Number(tx *change.Transaction, yield func(index uint64, c *change.Change) error) error {
	var index uint64
	return tx.Each(func(c *change.Change) error {
		at := index
		if counts(c) {
			index++
		}
		return yield(at, c)
	})
}
