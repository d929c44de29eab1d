package match

import (
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// Groups are the ends of many pages of one order, one for the rows with each
// value of some columns: of a nested query that shows the first rows for each
// row around it. A version of a row that sorts after the end of its own group
// takes no part in the answer. One that ties with it does, and so does one of a
// group that has no end, because its page is not full.
type Groups struct {
	For   []KeyColumn // what the rows of a group have in common; none: all rows are one
	Order []OrderColumn
	// of has the ends by the values of For, as appendValues encodes them.
	of map[string][]Place
}

// NewGroups returns the groups whose pages are full: each row holds the values
// of forCols and then those of order in the last row of a page, as the log
// writes them. A row with a value that is not understood, or a null among
// forCols, is left out.
func NewGroups(forCols []KeyColumn, order []OrderColumn, rows []change.Row) *Groups {
	g := &Groups{For: forCols, Order: order, of: make(map[string][]Place, len(rows))}
	places := make([]Place, 0, len(rows)*len(order))
	for _, row := range rows {
		if len(row) != len(forCols)+len(order) {
			continue
		}
		key, ok := appendValues(nil, forCols, row[:len(forCols)])
		begin := len(places)
		for i := 0; ok && i < len(order); i++ {
			var p Place
			p, ok = PlaceOf(order[i], row[len(forCols)+i])
			places = append(places, p)
		}
		if !ok {
			places = places[:begin]
			continue
		}
		g.of[string(key)] = places[begin:len(places):len(places)]
	}
	return g
}

// excludes reports whether a row certainly sorts after the end of its group.
func (g *Groups) excludes(rel *catalog.Relation, row change.Row) bool {
	var buf [128]byte
	key, ok := appendCells(buf[:0], g.For, rel, row)
	if !ok {
		return false
	}
	last, full := g.of[string(key)]
	return full && behind(g.Order, last, rel, row)
}

// Len returns the number of groups.
func (g *Groups) Len() int { return len(g.of) }

// Size returns the bytes that the groups take.
func (g *Groups) Size() int64 {
	n := int64(unsafe.Sizeof(*g))
	for key, last := range g.of {
		n += mapEntry + int64(unsafe.Sizeof(key)) + int64(len(key)) + int64(unsafe.Sizeof(last))
		for _, p := range last {
			n += int64(unsafe.Sizeof(p)) + int64(len(p.Value.s))
		}
	}
	return n
}
