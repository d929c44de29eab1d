package patch

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"strconv"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

// total is one aggregate while it changes.
type total struct {
	n   int64   // values that are not null; for CountRows, rows
	sum big.Int // in units of the last digit
}

// summed reports whether sum is followed over a column of the type: a type whose
// sum is exact, and prints with digits that the declaration says.
func (a *Aggregate) summed() bool {
	switch a.Base {
	case 20, 21, 23, 1700: // int8, int2, int4, numeric
		return true
	}
	return false
}

// digits returns how many digits after the point values and sum have.
func (a *Aggregate) digits() int {
	if a.Base == 1700 {
		return max(a.Scale, 0)
	}
	return 0
}

func startTotals(b *Bound, rows []Row) *State {
	p := b.Plan
	if len(rows) != 1 || len(rows[0].Hidden) != len(p.Aggregates) || b.Offset != 0 || b.Limit == 0 {
		return nil
	}
	totals := make([]total, len(p.Aggregates))
	for i := range totals {
		v := rows[0].Hidden[i]
		n, err := strconv.ParseInt(string(v.Text), 10, 64)
		if v.Kind != change.Text || err != nil || n < 0 || p.Aggregates[i].Kind == Sum && !p.Aggregates[i].summed() {
			return nil
		}
		totals[i].n = n
	}
	heads := p.heads()
	if !p.readSums(totals, heads, rows[0].JSON) {
		return nil
	}
	side := appendCounts(appendHead(nil, b), totals)
	body, ok := p.appendTotals(make([]byte, 0, len(rows[0].JSON)+2+len(side)), heads, totals)
	if !ok || !bytes.Equal(p.object(body), rows[0].JSON) {
		return nil
	}
	s := &State{stencil: stencilOf(b)}
	s.body, s.side = piece(body, side)
	return s
}

// object returns the row that a body of aggregates shows.
func (p *Plan) object(body []byte) []byte {
	if p.One {
		return body
	}
	return body[1 : len(body)-1]
}

func (s *State) followTotals(changes []*change.Change) (next *State, changed, ok bool) {
	p := s.stencil.plan
	var totals []total
	var heads []head
	l := lists.Get().(*list)
	defer l.release()
	for _, c := range changes {
		lay, ok := p.concerns(c)
		if !ok {
			return nil, false, false
		}
		if lay == nil {
			continue
		}
		if totals == nil {
			totals, heads = make([]total, len(p.Aggregates)), lay.heads
			side := l.opened.open(s)
			for i := range totals {
				n, w := binary.Uvarint(side)
				totals[i].n, side = int64(n), side[w:]
			}
			if !p.readSums(totals, heads, p.object(s.body)) {
				return nil, false, false
			}
		}
		if c.Op != change.Insert && !l.opened.count(totals, lay, c.Old, -1) ||
			c.Op != change.Delete && !l.opened.count(totals, lay, c.New, 1) {
			return nil, false, false
		}
	}
	if totals == nil {
		return s, false, true
	}
	l.fresh, ok = p.appendTotals(l.fresh, heads, totals)
	if !ok {
		return nil, false, false
	}
	l.next = appendCounts(append(l.next, l.opened.head...), totals)
	body, side := l.fresh, l.next
	next = &State{stencil: s.stencil}
	switch {
	case !bytes.Equal(body, s.body):
		next.body, next.side = piece(append(make([]byte, 0, len(body)+len(side)), body...), side)
		return next, true, true
	case bytes.Equal(side, s.side):
		return s, false, true
	}
	next.body, next.side = s.body, bytes.Clone(side)
	return next, false, true
}

// count adds a row to the totals, or takes it out. It returns false where it
// cannot say what the row was.
func (b *Bound) count(totals []total, lay *layout, row change.Row, sign int64) bool {
	switch match.Eval(b.Tests, lay.relation, row) {
	case match.No:
		return true
	case match.Unknown:
		return false
	}
	for i := range totals {
		t, a := &totals[i], &b.Plan.Aggregates[i]
		if a.Kind == CountRows {
			t.n += sign
			continue
		}
		switch v := row[lay.aggregates[i]]; v.Kind {
		case change.Null:
		case change.Text:
			t.n += sign
			if a.Kind == Count {
				break
			}
			var x big.Int
			if !parseDecimal(&x, v.Text, a.digits()) {
				return false
			}
			if sign < 0 {
				t.sum.Sub(&t.sum, &x)
			} else {
				t.sum.Add(&t.sum, &x)
			}
		default:
			return false
		}
	}
	return true
}

// readSums reads the sums out of the row that shows them.
func (p *Plan) readSums(totals []total, heads []head, object []byte) bool {
	for i, h := range heads {
		rest, ok := bytes.CutPrefix(object, h.text)
		if !ok {
			return false
		}
		n := valueLength(rest)
		if a := &p.Aggregates[i]; a.Kind == Sum && string(rest[:n]) != "null" && !parseDecimal(&totals[i].sum, rest[:n], a.digits()) {
			return false
		}
		object = rest[n:]
	}
	return true
}

// appendTotals appends the answer that shows the totals. It returns false for
// totals that cannot be.
func (p *Plan) appendTotals(dst []byte, heads []head, totals []total) ([]byte, bool) {
	if !p.One {
		dst = append(dst, '[')
	}
	for i, h := range heads {
		dst = append(dst, h.text...)
		t, a := &totals[i], &p.Aggregates[i]
		switch {
		case t.n < 0 || t.n == 0 && t.sum.Sign() != 0:
			return nil, false
		case a.Kind != Sum:
			dst = strconv.AppendInt(dst, t.n, 10)
		case t.n == 0:
			dst = append(dst, "null"...)
		case a.Base != 20 && a.Base != 1700 && !t.sum.IsInt64():
			// The sum is a bigint, and out of its range an error.
			return nil, false
		default:
			dst = appendDecimal(dst, &t.sum, a.digits())
		}
	}
	dst = append(dst, '}')
	if !p.One {
		dst = append(dst, ']')
	}
	return dst, true
}

func appendCounts(dst []byte, totals []total) []byte {
	for i := range totals {
		dst = binary.AppendUvarint(dst, uint64(totals[i].n))
	}
	return dst
}

// parseDecimal reads a decimal with so many digits after the point, in units of
// the last of them.
func parseDecimal(x *big.Int, text []byte, digits int) bool {
	var short [64]byte
	plain := short[:0]
	point := -1
	for i, c := range text {
		switch {
		case c >= '0' && c <= '9' || c == '-' && i == 0:
			plain = append(plain, c)
		case c == '.' && point < 0:
			point = i
		default:
			return false
		}
	}
	if frac := len(text) - point - 1; point < 0 && digits != 0 || point >= 0 && frac != digits {
		return false
	}
	_, ok := x.SetString(string(plain), 10)
	return ok
}

// appendDecimal is the reverse of parseDecimal.
func appendDecimal(dst []byte, x *big.Int, digits int) []byte {
	if digits == 0 {
		return x.Append(dst, 10)
	}
	var short [64]byte
	abs := new(big.Int).Abs(x).Append(short[:0], 10)
	if x.Sign() < 0 {
		dst = append(dst, '-')
	}
	for len(abs) <= digits {
		abs = append([]byte{'0'}, abs...)
	}
	whole := len(abs) - digits
	return append(append(append(dst, abs[:whole]...), '.'), abs[whole:]...)
}
