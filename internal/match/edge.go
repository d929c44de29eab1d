package match

import (
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
)

// PlaceOf returns the place of a value in the order of a column. It returns
// false for a value that is not known.
func PlaceOf(c OrderColumn, v change.Value) (Place, bool) {
	switch v.Kind {
	case change.Null:
		return Place{Null: true}, true
	case change.Text:
		d, ok := ParseDatum(c.Class, v.Text)
		return Place{Value: d}, ok
	}
	return Place{}, false
}

// ComparePlaces says in which order Postgres puts two rows: -1, 0 or 1. Each has
// a place for every column of the order, or for a prefix of it.
func ComparePlaces(order []OrderColumn, a, b []Place) int {
	for i := range min(len(order), len(a), len(b)) {
		if c := order[i].compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

func (c *OrderColumn) compare(a, b Place) int {
	nulls := 1
	if c.NullsFirst {
		nulls = -1
	}
	switch {
	case a.Null && b.Null:
		return 0
	case a.Null:
		return nulls
	case b.Null:
		return -nulls
	case c.Desc:
		return b.Value.Compare(a.Value)
	}
	return a.Value.Compare(b.Value)
}

// excludes reports whether a row certainly sorts after the edge.
func (e *Edge) excludes(rel *catalog.Relation, row change.Row) bool {
	return behind(e.Order, e.Last, rel, row)
}

// behind reports whether a row certainly sorts after a place.
func behind(order []OrderColumn, last []Place, rel *catalog.Relation, row change.Row) bool {
	for i := range min(len(order), len(last)) {
		c := &order[i]
		place, ok := placeView(c, cell(rel, row, c.Column, c.Type))
		if !ok {
			return false
		}
		if d := c.compare(place, last[i]); d != 0 {
			return d > 0
		}
	}
	return !ruleEdge
}

// placeView is PlaceOf for a place that is dropped before the value is.
func placeView(c *OrderColumn, v change.Value) (Place, bool) {
	if v.Kind == change.Text {
		d, ok := viewDatum(c.Class, v.Text)
		return Place{Value: d}, ok
	}
	return PlaceOf(*c, v)
}
