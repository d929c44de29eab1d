package patch

import (
	"math"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// most is the largest offset, limit and slack that is followed.
const most = math.MaxInt32 / 4

// capacity returns how many rows are kept, or -1 for any number.
func (b *Bound) capacity() int {
	if b.Limit < 0 || len(b.Plan.Order) == 0 {
		return -1
	}
	return b.Offset + b.Limit + b.Slack
}

// page returns which of n rows are shown.
func (b *Bound) page(n int) (from, to int) {
	from, to = min(b.Offset, n), n
	if b.Limit >= 0 {
		to = min(b.Offset+b.Limit, n)
	}
	return from, to
}

// sound reports whether the plan is one of which the rows can be followed.
func (b *Bound) sound() bool {
	p := b.Plan
	if len(p.Columns) == 0 || len(p.Key) == 0 || b.Limit == 0 ||
		b.Offset < 0 || b.Offset > most || b.Limit > most || b.Slack < 0 || b.Slack > most {
		return false
	}
	if len(p.Order) == 0 && b.Offset > 0 {
		return false
	}
	for _, c := range p.Columns {
		if !Renders(c.Base, c.Enum) {
			return false
		}
	}
	for _, k := range p.Key {
		if len(p.Order) > 0 && !slices.ContainsFunc(p.Order, func(o match.OrderColumn) bool { return o.Column == k.Column }) {
			return false
		}
	}
	return true
}

func startRows(b *Bound, rows []Row) *State {
	capacity := b.capacity()
	if !b.sound() || capacity >= 0 && len(rows) > capacity || len(b.Plan.Order) == 0 && len(rows) > 1 {
		return nil
	}
	l := lists.Get().(*list)
	defer l.release()
	l.Bound = b
	l.head = appendHead(nil, b)
	kept := b.Plan.kept()
	hidden := len(b.Plan.Order) + len(b.Plan.Key)
	for i := range rows {
		if len(rows[i].Hidden) != hidden || len(rows[i].JSON) == 0 {
			return nil
		}
		values, ok := l.values(rows[i].Hidden[:kept])
		if !ok || !l.place(values) {
			return nil
		}
		// The order of the server is that of Postgres; if it is not the one that
		// is reproduced here, the state would go wrong.
		if i > 0 && l.compare(l.rows[i-1].values, values) >= 0 {
			return nil
		}
		l.rows = append(l.rows, held{values: values, json: rows[i].JSON})
	}
	if capacity >= 0 && len(rows) == capacity {
		l.end = l.rows[capacity-1].values
	}
	s, ok := l.state(nil)
	if !ok {
		return nil
	}
	return s
}

func (s *State) followRows(changes []*change.Change) (next *State, changed, ok bool) {
	l := lists.Get().(*list)
	defer l.release()
	for _, c := range changes {
		lay, ok := s.stencil.plan.concerns(c)
		if !ok {
			return nil, false, false
		}
		if lay == nil {
			continue
		}
		if l.Bound == nil {
			l.load(s)
		}
		var old []byte
		if c.Op != change.Insert {
			if old, ok = l.remove(lay, c.Old); !ok {
				return nil, false, false
			}
		}
		if c.Op != change.Delete && !l.insert(lay, c.New, old) {
			return nil, false, false
		}
	}
	if !l.moved {
		return s, false, true
	}
	if next, ok = l.state(s); !ok {
		return nil, false, false
	}
	return next, !next.sameBody(s), true
}

// remove takes out the row that a change found, if it is known, and returns its
// JSON. It returns false where it cannot say whether it is, or what the change
// says of it is not what is known.
func (l *list) remove(lay *layout, row change.Row) (old []byte, ok bool) {
	for _, i := range lay.keys {
		if row[i].Kind != change.Text {
			return nil, false
		}
	}
	i := slices.IndexFunc(l.rows, func(h held) bool { return l.hasKey(lay, h, row) })
	if i < 0 {
		return nil, !l.mustHold(lay, row)
	}
	h := l.rows[i]
	values := h.values
	for j, at := range lay.kept {
		var v change.Value
		v, values = cutValue(values)
		if row[at].Kind != change.Absent && !l.equal(j, v, row[at]) {
			return nil, false
		}
	}
	l.rows = slices.Delete(l.rows, i, i+1)
	l.moved = true
	return h.json, true
}

// mustHold reports whether a row certainly is one that the list knows.
func (l *list) mustHold(lay *layout, row change.Row) bool {
	if match.Eval(l.Tests, lay.relation, row) != match.Yes {
		return false
	}
	if l.end == nil {
		return true
	}
	mark := len(l.fresh)
	values, ok := l.valuesAt(lay, row)
	inside := ok && l.place(values) && l.compare(l.end, values) >= 0
	l.fresh = l.fresh[:mark]
	return inside
}

// insert puts in a row, if it passes and is not behind the end. old is the JSON
// of the row's version before, if that was known. It returns false where that
// cannot be told, or the row's JSON is not known.
func (l *list) insert(lay *layout, row change.Row, old []byte) bool {
	switch match.Eval(l.Tests, lay.relation, row) {
	case match.No:
		return true
	case match.Unknown:
		return false
	}
	values, ok := l.valuesAt(lay, row)
	if !ok || !l.place(values) {
		return false
	}
	if l.end != nil && l.compare(l.end, values) < 0 {
		return true
	}
	if slices.ContainsFunc(l.rows, func(h held) bool { return l.hasKey(lay, h, row) }) {
		return false
	}
	// No two rows are in one place; those of a lookup are, so it has one.
	i, tie := slices.BinarySearchFunc(l.rows, values, func(h held, values []byte) int { return l.compare(h.values, values) })
	if tie {
		return false
	}
	json, ok := l.render(lay, row, old)
	if !ok {
		return false
	}
	l.rows = slices.Insert(l.rows, i, held{values: values, json: json})
	l.moved = true
	// A large transaction does not make a large list.
	const spare = 256
	if c := l.capacity(); c >= 0 && len(l.rows) > c+spare {
		l.trim(c)
	}
	return true
}

// render returns the JSON of a row. What the log does not carry of it did not
// change, and is taken from the version before.
func (l *list) render(lay *layout, row change.Row, old []byte) ([]byte, bool) {
	begin := len(l.fresh)
	for i, at := range lay.columns {
		h := &lay.heads[i]
		l.fresh = append(l.fresh, h.text...)
		ok := true
		switch v := row[at]; v.Kind {
		case change.Null:
			l.fresh = append(l.fresh, "null"...)
		case change.Text:
			l.fresh, ok = appendValue(l.fresh, h.form, v.Text)
		default:
			var m []byte
			if m, ok = member(lay.heads, i, old); ok {
				l.fresh = append(l.fresh, m...)
			}
		}
		if !ok {
			return nil, false
		}
	}
	l.fresh = append(l.fresh, '}')
	return l.fresh[begin:len(l.fresh):len(l.fresh)], true
}
