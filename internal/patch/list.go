package patch

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/tidemarkdb/tidemark/internal/match"
)

// A list knows every row that passes the tests and sorts at or before its end.
//
// After its head, State.side holds, for every row in order, the length of its JSON, the values
// of Plan.kept and, unless the row is in the body, the JSON; then the values of
// the end, if they are not those of the last row.

// end says up to where a list knows its rows.
type end byte

const (
	endless   end = iota // all rows are known
	endAtLast            // those up to the last
	endBehind            // those up to a row that is no longer there
)

// held is one row of a list.
type held struct {
	values []byte // of Plan.kept: 0 for null, else the length plus 1 and the text
	json   []byte
}

// list is the rows of a state while they change.
type list struct {
	*Bound
	rows  []held
	head  []byte // of the side
	end   []byte // the values of the end, nil for none
	fresh []byte // what rows hold that is in no state
	moved bool   // rows or end are not what they were

	places []match.Place
	next   []byte // the next state's side
	opened opened // Bound, if it is that of a state
}

var lists = sync.Pool{New: func() any { return new(list) }}

// release makes the list fit for another use. It must not be used any more.
func (l *list) release() {
	const large = 1 << 16
	if cap(l.rows) > large/64 || cap(l.fresh) > large || cap(l.next) > large {
		return
	}
	clear(l.rows) // and what is behind is clear already
	clear(l.places)
	*l = list{rows: l.rows[:0], fresh: l.fresh[:0], places: l.places[:0], next: l.next[:0], opened: l.opened.cleared()}
	lists.Put(l)
}

// sameBody reports whether two states of one answer share a body, which state
// sees to if it is the same.
func (s *State) sameBody(o *State) bool {
	return s.none == o.none && len(s.body) == len(o.body) && (len(s.body) == 0 || &s.body[0] == &o.body[0])
}

// load takes the rows out of a state.
func (l *list) load(s *State) {
	body, side := s.body, l.opened.open(s)
	l.Bound, l.head = &l.opened.Bound, l.opened.head
	p := l.Plan
	from, to := l.page(int(s.rows))
	if !p.One {
		body = body[1:]
	}
	for i := range int(s.rows) {
		n, w := binary.Uvarint(side)
		side = side[w:]
		var h held
		h.values, side = cutValues(side, p.kept())
		if from <= i && i < to {
			h.json = body[:n:n]
			if body = body[n:]; !p.One {
				body = body[1:]
			}
		} else {
			h.json, side = side[:n:n], side[n:]
		}
		l.rows = append(l.rows, h)
	}
	switch s.end {
	case endAtLast:
		l.end = l.rows[len(l.rows)-1].values
	case endBehind:
		l.end = side
	}
}

// state makes the state of the rows, with what it can share with the one before.
// It returns false if the page needs rows that are not known.
func (l *list) state(before *State) (*State, bool) {
	b := l.Bound
	if c := b.capacity(); c >= 0 && len(l.rows) > c {
		l.trim(c)
	}
	if l.end != nil && len(l.rows) < b.Offset+b.Limit {
		return nil, false
	}
	s := &State{rows: uint32(len(l.rows))}
	from, to := b.page(len(l.rows))
	if b.Plan.One && to-from > 1 {
		return nil, false
	}
	side := append(l.next[:0], l.head...)
	for i, h := range l.rows {
		side = append(binary.AppendUvarint(side, uint64(len(h.json))), h.values...)
		if i < from || i >= to {
			side = append(side, h.json...)
		}
	}
	switch {
	case l.end == nil:
	case len(l.rows) > 0 && bytes.Equal(l.end, l.rows[len(l.rows)-1].values):
		s.end = endAtLast
	default:
		s.end = endBehind
		side = append(side, l.end...)
	}
	l.next = side
	s.none = b.Plan.One && from == to
	shown := l.rows[from:to]
	same := before != nil && before.none == s.none && l.shows(shown, before.body)
	if same && s.rows == before.rows && s.end == before.end && bytes.Equal(side, before.side) {
		return before, true
	}
	if before != nil {
		s.stencil = before.stencil
	} else {
		s.stencil = stencilOf(b)
	}
	if same {
		s.body, s.side = before.body, bytes.Clone(side)
	} else {
		s.body, s.side = piece(l.body(make([]byte, 0, l.bodySize(shown)+len(side)), shown), side)
	}
	return s, true
}

// piece appends a side to a body, which has room for it, and returns both.
func piece(body, side []byte) (b, s []byte) {
	n := len(body)
	all := append(body, side...)
	return all[:n:n], all[n:]
}

func (l *list) bodySize(rows []held) int {
	size := 1 + max(1, len(rows))
	for _, h := range rows {
		size += len(h.json)
	}
	return size
}

// body appends the answer that shows the rows.
func (l *list) body(body []byte, rows []held) []byte {
	if l.Plan.One {
		for _, h := range rows {
			body = append(body, h.json...)
		}
		return body
	}
	body = append(body, '[')
	for i, h := range rows {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, h.json...)
	}
	return append(body, ']')
}

// shows reports whether a body is that of the rows.
func (l *list) shows(rows []held, body []byte) bool {
	if l.Plan.One {
		return len(rows) == 0 && len(body) == 0 || len(rows) == 1 && bytes.Equal(rows[0].json, body)
	}
	body = body[1:]
	for i, h := range rows {
		n, after := len(h.json), byte(',')
		if i == len(rows)-1 {
			after = ']'
		}
		if len(body) <= n || !bytes.Equal(body[:n], h.json) || body[n] != after {
			return false
		}
		body = body[n+1:]
	}
	return len(body) == 0 || len(rows) == 0 && len(body) == 1
}

// trim forgets the rows after the n-th.
func (l *list) trim(n int) {
	clear(l.rows[n:])
	l.rows = l.rows[:n]
	l.end, l.moved = l.rows[n-1].values, true
}
