package patch

import (
	"bytes"
	"encoding/binary"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// values writes values as a list keeps them. It returns false where one is not
// known.
func (l *list) values(row []change.Value) ([]byte, bool) {
	begin := len(l.fresh)
	for i := range row {
		if !l.value(row[i]) {
			return nil, false
		}
	}
	return l.fresh[begin:len(l.fresh):len(l.fresh)], true
}

// valuesAt does it for the columns of a whole row that are kept.
func (l *list) valuesAt(lay *layout, row change.Row) ([]byte, bool) {
	begin := len(l.fresh)
	for _, at := range lay.kept {
		if !l.value(row[at]) {
			return nil, false
		}
	}
	return l.fresh[begin:len(l.fresh):len(l.fresh)], true
}

func (l *list) value(v change.Value) bool {
	switch v.Kind {
	case change.Null:
		l.fresh = append(l.fresh, 0)
	case change.Text:
		l.fresh = binary.AppendUvarint(l.fresh, uint64(len(v.Text))+1)
		l.fresh = append(l.fresh, v.Text...)
	default:
		return false
	}
	return true
}

func cutValue(b []byte) (v change.Value, rest []byte) {
	n, w := binary.Uvarint(b)
	b = b[w:]
	if n == 0 {
		return change.Value{Kind: change.Null}, b
	}
	return change.Value{Kind: change.Text, Text: b[:n-1]}, b[n-1:]
}

// cutValues parts the first n values from what follows.
func cutValues(b []byte, n int) (values, rest []byte) {
	rest = b
	for range n {
		_, rest = cutValue(rest)
	}
	n = len(b) - len(rest)
	return b[:n:n], rest
}

// place reads the values of a row that compare puts others before or after. It
// returns false where the order of a value is not known.
func (l *list) place(values []byte) bool {
	l.places = l.places[:0]
	for i := range l.Plan.Order {
		var v change.Value
		v, values = cutValue(values)
		p, ok := match.PlaceOf(l.Plan.Order[i], v)
		if !ok {
			return false
		}
		l.places = append(l.places, p)
	}
	return true
}

// compare says how a known row sorts against the values given, which are those
// of the last call of place.
func (l *list) compare(known, values []byte) int {
	order := l.Plan.Order
	for i := range order {
		var a, b change.Value
		a, known = cutValue(known)
		b, values = cutValue(values)
		if a.Equal(b) {
			continue
		}
		// Whatever is known went through place.
		p, _ := match.PlaceOf(order[i], a)
		if c := match.ComparePlaces(order[i:i+1], []match.Place{p}, l.places[i:i+1]); c != 0 {
			return c
		}
	}
	return 0
}

// hasKey reports whether a known row has the key of a row, which is whole.
func (l *list) hasKey(lay *layout, h held, row change.Row) bool {
	values := h.values
	for i, k := range lay.keyAt {
		var v change.Value
		v, values = cutValue(values)
		if k >= 0 && !l.equal(i, v, row[lay.keys[k]]) {
			return false
		}
	}
	return true
}

// equal compares two values of the i-th column that is kept. A row that did not
// change has the same text; of some types other texts are the same value.
func (l *list) equal(i int, a, b change.Value) bool {
	if a.Kind != b.Kind || bytes.Equal(a.Text, b.Text) {
		return a.Kind == b.Kind
	}
	_, _, class := l.Plan.keptColumn(i)
	switch class {
	case match.ClassNone, match.ClassInt, match.ClassText, match.ClassUUID:
		return false
	}
	x, okX := match.ParseDatum(class, a.Text)
	y, okY := match.ParseDatum(class, b.Text)
	return okX && okY && x == y
}
