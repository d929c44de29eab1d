package table

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// item is one change of a row as it concerns a shape: whether the row was in it,
// and is.
type item struct {
	xid     revision.XID
	end     revision.LSN
	index   uint64
	c       *change.Change
	at      []int
	was, is match.Verdict
}

// judge says what a change has to do with the shape: nothing, if it is not ok.
// Verdicts may be unknown where only Postgres can decide.
func (s *Shape) judge(c *change.Change) (it item, ok bool, err error) {
	d := s.def
	it = item{c: c, was: match.No, is: match.No}
	switch c.Op {
	case change.Define:
		return it, false, nil
	case change.Truncate:
		return it, false, errTruncated
	}
	if c.Op != change.Insert {
		it.was = d.rows.Pass(c.Relation, c.Old)
	}
	if c.Op != change.Delete {
		it.is = d.rows.Pass(c.Relation, c.New)
	}
	if it.was == match.No && it.is == match.No {
		return it, false, nil
	}
	if d.decided && (it.was == match.Unknown || it.is == match.Unknown) {
		return it, false, fmt.Errorf("%w: the log does not say whether a row meets the condition", errRedefined)
	}
	if it.at, err = d.encoding.layout(c.Relation); err != nil {
		return it, false, err
	}
	return it, true, nil
}

// maxAsked bounds the rows that one question to Postgres is about.
const maxAsked = 500

// ask has Postgres decide what is unknown.
func (s *Shape) ask(ctx context.Context, items []item) error {
	var rows []query.ShapeRow
	var into []*match.Verdict
	for i := range items {
		it := &items[i]
		if it.was == match.Unknown {
			rows, into = append(rows, query.ShapeRow{Relation: it.c.Relation, Row: it.c.Old}), append(into, &it.was)
		}
		if it.is == match.Unknown {
			rows, into = append(rows, query.ShapeRow{Relation: it.c.Relation, Row: it.c.New}), append(into, &it.is)
		}
	}
	for len(rows) > 0 {
		n := min(maxAsked, len(rows))
		verdicts, err := s.hub.evaluate(ctx, s.def, rows[:n])
		if err != nil {
			return err
		}
		for i, yes := range verdicts {
			*into[i] = match.No
			if yes {
				*into[i] = match.Yes
			}
		}
		rows, into = rows[n:], into[n:]
	}
	return nil
}

// evaluate asks Postgres of which rows a condition is true.
func (h *Hub) evaluate(ctx context.Context, d *definition, rows []query.ShapeRow) (verdicts []bool, err error) {
	const tries = 3
	for try := 1; ; try++ {
		err = h.question(ctx, func(conn *pgx.Conn) error {
			var err error
			verdicts, err = d.rows.Evaluate(ctx, conn.PgConn(), rows)
			return err
		})
		message, refused := query.Refusal(err)
		switch {
		case err == nil:
			return verdicts, h.holds(ctx, d)
		case !refused:
			return nil, err
		}
		if try == tries {
			return nil, fmt.Errorf("%w, or its condition cannot be evaluated for a row: %s", errRedefined, message)
		}
		// A definition may have changed that the log has not told of.
		if err := h.lookAgain(ctx); err != nil {
			return nil, err
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// encode returns the messages of an item, one or two of them, or none.
func (s *Shape) encode(b []byte, it *item) (_ []byte, n int, err error) {
	head := live.Head{At: live.Offset{LSN: it.end, Index: 2 * it.index}, XID: it.xid}
	b, n, err = s.def.encoding.encoder.AppendChange(b, head, it.at, it.c.Old, it.c.New, it.was == match.Yes, it.is == match.Yes)
	if err != nil {
		err = fmt.Errorf("%w: %w", errRedefined, err)
	}
	return b, n, err
}

// evaluate makes the messages of touches. Who calls it has set Shape.evaluating.
func (s *Shape) evaluate(ctx context.Context, todo []*touch) error {
	defer func() {
		s.mu.Lock()
		close(s.evaluating)
		s.evaluating = nil
		s.mu.Unlock()
	}()
	var items []item
	for i, t := range todo {
		if s.inside(t.xid, t.end) {
			continue
		}
		changes := t.rec.changes.Load()
		if changes == nil {
			if i == 0 {
				for _, next := range todo[1:] {
					if next.rec.changes.Load() != nil {
						break
					}
					t = next
				}
				s.mu.Lock()
				s.cut(t.end)
				s.mu.Unlock()
				return nil
			}
			todo = todo[:i]
			break
		}
		for _, at := range t.at {
			it, ok, err := s.judge(&(*changes)[at])
			if err != nil {
				return err
			}
			if ok {
				it.xid, it.end, it.index = t.xid, t.end, t.rec.number(int(at))
				items = append(items, it)
			}
		}
	}
	if !s.def.decided {
		if err := s.ask(ctx, items); err != nil {
			return err
		}
	}
	made := make([]touch, len(todo))
	var scratch []byte
	for i, t := range todo {
		m := &made[i]
		for ; len(items) > 0 && items[0].end == t.end; items = items[1:] {
			var n int
			var err error
			if scratch, n, err = s.encode(scratch[:0], &items[0]); err != nil {
				return err
			}
			rest := scratch
			for k := range n {
				message, after, _ := bytes.Cut(rest, []byte(separator))
				rest = after
				if len(m.messages) > 0 {
					m.messages = append(m.messages, separator...)
				}
				m.messages = append(m.messages, message...)
				m.parts = append(m.parts, part{2*items[0].index + uint64(k), len(m.messages)})
			}
		}
		if n := len(m.parts); n > 0 {
			m.messages = slices.Clip(live.MarkLast(m.messages))
			m.parts[n-1].end = len(m.messages)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range todo {
		if at := s.search(live.Offset{LSN: t.end}); at == len(s.tail) || s.tail[at] != t {
			continue // cut off meanwhile
		}
		s.hub.recent.release(t.rec)
		t.messages, t.parts, t.rec, t.at, t.done = made[i].messages, made[i].parts, nil, nil, true
		s.hub.tailBytes.Add(int64(len(t.messages)))
		s.grown.Add(int64(len(t.messages)))
	}
	if s.hub.crowded() {
		s.forgetAll()
		s.relieve()
	}
	return nil
}
