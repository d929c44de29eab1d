package match

import (
	"encoding/binary"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// NewWitnesses returns the witnesses among rows, each of which holds the values
// of forCols and then those of key, as the log writes them. A row with a value
// that is null or not understood is no witness, nor is one whose forCols equal
// those of a row before it: if two witnesses stood for each other, both could
// go.
func NewWitnesses(forCols, key []KeyColumn, rows []change.Row) *Witnesses {
	w := &Witnesses{For: forCols, Key: key}
	type witness struct{ of, key string }
	var found []witness
	size := 0
	for _, row := range rows {
		if len(row) != len(forCols)+len(key) {
			continue
		}
		of, ok1 := appendValues(nil, forCols, row[:len(forCols)])
		id, ok2 := appendValues(nil, key, row[len(forCols):])
		if ok1 && ok2 {
			found = append(found, witness{string(of), string(id)})
		}
	}
	slices.SortStableFunc(found, func(a, b witness) int { return strings.Compare(a.of, b.of) })
	found = slices.CompactFunc(found, func(a, b witness) bool { return a.of == b.of })
	for _, f := range found {
		size += len(f.of) + len(f.key)
	}
	// One string holds them all.
	var all strings.Builder
	all.Grow(size)
	for _, f := range found {
		all.WriteString(f.of)
		all.WriteString(f.key)
	}
	w.rows = make([]string, len(found))
	at := 0
	for i, f := range found {
		n := len(f.of) + len(f.key)
		w.rows[i] = all.String()[at : at+n]
		at += n
	}
	return w
}

// appendValues writes values in a form of which none is the beginning of
// another's, and equal ones are the same.
func appendValues(b []byte, cols []KeyColumn, values []change.Value) ([]byte, bool) {
	for i := range cols {
		if values[i].Kind != change.Text {
			return b, false
		}
		d, ok := viewDatum(cols[i].Class, values[i].Text)
		if !ok {
			return b, false
		}
		if cols[i].Class.textual() {
			b = binary.AppendUvarint(b, uint64(len(d.s)))
			b = append(b, d.s...)
		} else {
			b = binary.BigEndian.AppendUint64(b, uint64(d.i))
		}
	}
	return b, true
}

// represents reports whether a witness other than the row itself certainly
// stands for it.
func (w *Witnesses) represents(rel *catalog.Relation, row change.Row) bool {
	var buf [128]byte
	b, ok := appendCells(buf[:0], w.For, rel, row)
	if !ok {
		return false
	}
	n := len(b)
	i := sort.Search(len(w.rows), func(i int) bool { return w.rows[i] >= string(b) })
	if i == len(w.rows) || len(w.rows[i]) < n || w.rows[i][:n] != string(b) {
		return false
	}
	b, ok = appendCells(b, w.Key, rel, row)
	return ok && (w.rows[i] != string(b) || !ruleWitness)
}

// appendCells is appendValues for the columns of a row.
func appendCells(b []byte, cols []KeyColumn, rel *catalog.Relation, row change.Row) ([]byte, bool) {
	ok := true
	for i := range cols {
		v := cell(rel, row, cols[i].Column, cols[i].Type)
		if b, ok = appendValues(b, cols[i:i+1], []change.Value{v}); !ok {
			return b, false
		}
	}
	return b, true
}

// Size returns the bytes that the witnesses take.
func (w *Witnesses) Size() int64 {
	n := int64(unsafe.Sizeof(*w)) + int64(cap(w.rows))*int64(unsafe.Sizeof(""))
	for _, r := range w.rows {
		n += int64(len(r))
	}
	return n
}
