package match

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sort"
	"strings"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// MaxWitnesses is how many witnesses of the same values are kept. One is enough;
// the others stay when it goes.
const MaxWitnesses = 4

// NewWitnesses returns the witnesses among rows, each of which holds the values
// of forCols and then those of key, as the log writes them. A row with a value
// that is null or not understood is no witness.
//
// With certain, a row that passes every test of the dependency is a witness as
// good as these, and an Index may take it for one.
func NewWitnesses(forCols, key []KeyColumn, rows []change.Row, certain bool) *Witnesses {
	w := &Witnesses{For: forCols, Key: key, certain: certain}
	w.hold(rows, MaxWitnesses)
	for _, r := range w.rows {
		w.longest = max(w.longest, len(r))
	}
	return w
}

// NewFixtures returns witnesses that stand only together with rows of other
// tables: none of them may go, however many there are.
func NewFixtures(forCols, key []KeyColumn, rows []change.Row) *Witnesses {
	w := &Witnesses{For: forCols, Key: key, fixed: true}
	w.hold(rows, len(rows))
	return w
}

// hold sets the rows, at most so many with the same values.
func (w *Witnesses) hold(rows []change.Row, most int) {
	type witness struct{ of, key string }
	var found []witness
	for _, row := range rows {
		if len(row) != len(w.For)+len(w.Key) {
			continue
		}
		of, ok1 := appendValues(nil, w.For, row[:len(w.For)])
		id, ok2 := appendValues(nil, w.Key, row[len(w.For):])
		if ok1 && ok2 {
			found = append(found, witness{string(of), string(id)})
		}
	}
	slices.SortFunc(found, func(a, b witness) int {
		return cmp.Or(strings.Compare(a.of, b.of), strings.Compare(a.key, b.key))
	})
	found = slices.Compact(found)
	n, size := 0, 0
	for _, f := range found {
		if n >= most && found[n-most].of == f.of {
			continue
		}
		found[n] = f
		n++
		size += len(f.of) + len(f.key)
	}
	// One string holds them all.
	var all strings.Builder
	all.Grow(size)
	for _, f := range found[:n] {
		all.WriteString(f.of)
		all.WriteString(f.key)
	}
	w.rows = make([]string, n)
	at := 0
	for i, f := range found[:n] {
		end := at + len(f.of) + len(f.key)
		w.rows[i] = all.String()[at:end]
		at = end
	}
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

// stance is what witnesses say of a version of a row.
type stance byte

const (
	alone       stance = iota // it counts
	represented               // another row certainly says the same
	spare                     // it is a witness, of several
)

// place is where a row belongs among the witnesses.
type place struct {
	stance stance
	at     int // where it is, or would be
	n      int // of the witnesses with its values
}

// look finds the place of a version of a row, and writes into buf what the row
// would be as a witness.
func (w *Witnesses) look(buf []byte, rel *catalog.Relation, row change.Row) (place, []byte) {
	b, ok := appendCells(buf[:0], w.For, rel, row)
	if !ok {
		return place{}, b
	}
	n := len(b)
	first := sort.Search(len(w.rows), func(i int) bool { return w.rows[i] >= string(b) })
	end := first
	for end < len(w.rows) && strings.HasPrefix(w.rows[end], string(b[:n])) {
		end++
	}
	if first == end {
		return place{}, b
	}
	if b, ok = appendCells(b, w.Key, rel, row); !ok {
		return place{}, b
	}
	i, is := slices.BinarySearch(w.rows[first:end], string(b))
	p := place{represented, first + i, end - first}
	switch {
	case !is || !ruleWitness:
	case p.n > 1 && !w.fixed:
		p.stance = spare
	default:
		p.stance = alone
	}
	return p, b
}

// represents reports whether rows other than the row itself certainly stand for
// it, and go on to do so whatever else it is said of.
func (w *Witnesses) represents(rel *catalog.Relation, row change.Row) bool {
	var buf [128]byte
	p, _ := w.look(buf[:], rel, row)
	return p.stance == represented
}

// dismiss returns witnesses without one of several, which are a copy unless they
// are the index's own already.
func (w *Witnesses) dismiss(at int) *Witnesses {
	w = w.own()
	w.rows = slices.Delete(w.rows, at, at+1)
	return w
}

// appoint returns witnesses with one more, as far as there is room.
func (w *Witnesses) appoint(p place, row []byte) *Witnesses {
	if p.n >= MaxWitnesses || len(row) > w.longest || w.owned && len(w.rows) == cap(w.rows) {
		return w
	}
	w = w.own()
	w.rows = slices.Insert(w.rows, p.at, string(row))
	return w
}

// most is how many witnesses there may be in time.
func (w *Witnesses) most() int {
	if !w.certain {
		return len(w.rows)
	}
	return len(w.rows) + len(w.rows)/2 + 1
}

// own returns witnesses that may be changed. Those of a Dependency may not: they
// are compared with the past as well.
func (w *Witnesses) own() *Witnesses {
	if w.owned {
		return w
	}
	o := *w
	o.owned = true
	o.rows = append(make([]string, 0, w.most()), w.rows...)
	return &o
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

// Size returns the bytes that the witnesses take, with those that an Index may
// come to keep.
func (w *Witnesses) Size() int64 {
	n := int64(unsafe.Sizeof(*w)) + int64(cap(w.rows))*int64(unsafe.Sizeof(""))
	for _, r := range w.rows {
		n += int64(len(r))
	}
	return n + int64(w.most()-len(w.rows))*int64(int(unsafe.Sizeof(""))+w.longest)
}
