package keep

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live/record"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Tx is one transaction of the log. It holds during the call to which it is passed.
type Tx struct {
	XID    revision.XID
	Commit revision.LSN
	End    revision.LSN
	Time   time.Time // UTC, to the microsecond

	ctx    context.Context
	v      *view
	ending ending
	first  uint64
	rest   []byte // the changes in the end frame
	pieces []piece
	window window
	d      decoder
}

// Each calls yield with the changes of some tables (nil: of all that are kept) whose
// index is at least from, in order, until it returns false or an error.
// Definitions without a relation belong to every table.
//
// The index is the place of the change in the whole transaction, whether the
// others are kept or not, as Number gives it: descriptions of tables do not
// count, they have the index of the change after them. So it is the same for
// every delivery of the transaction. The change holds during the call. Each may be
// called again, but not inside of itself.
func (t *Tx) Each(from uint64, tables map[catalog.OID]bool, yield func(index uint64, c *change.Change) (more bool, err error)) error {
	if t.pieces == nil {
		_, err := t.changes(t.rest, t.first, from, tables, yield)
		return err
	}
	i := sort.Search(len(t.pieces), func(i int) bool { return t.pieces[i].first > from })
	// Descriptions at the end of a piece may have the index at which the next begins.
	for i = max(i-1, 0); i > 0 && t.pieces[i].first == from; {
		i--
	}
	for _, p := range t.pieces[i:] {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		body, err := t.v.frame(&t.window, p.off)
		if err != nil {
			return err
		}
		r := record.Reader{Rest: body}
		if p.off == t.pieces[len(t.pieces)-1].off {
			t.ending.decode(&r)
		}
		if first := r.Uvarint(); r.Bad || first != p.first {
			return t.v.damage(p.off)
		}
		if more, err := t.changes(r.Rest, p.first, from, tables, yield); err != nil || !more {
			return err
		}
	}
	return nil
}

func (t *Tx) changes(b []byte, first, from uint64, tables map[catalog.OID]bool,
	yield func(uint64, *change.Change) (bool, error),
) (bool, error) {
	more, err := t.d.all(b, first, from, t.v.relations, tables, yield)
	if err == errFrame { //nolint:errorlint // ours, and never wrapped
		err = t.v.damage(t.v.at)
	}
	return more, err
}

// Read calls yield with the transactions that touch some tables (nil: all) and
// after < End <= upTo, in order, until it returns false or an error. It goes no
// further than the End of when it began. It fails with ErrTrimmed if after is before
// Begin, also later, if it is overtaken. Descriptions have one pointer each
// among all that the log delivers.
func (l *Log) Read(ctx context.Context, tables map[catalog.OID]bool, after, upTo revision.LSN,
	yield func(*Tx) (more bool, err error),
) error {
	t := &Tx{ctx: ctx}
	var w window
	return l.walk(tables, after, upTo, func(v *view, e entry) (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		body, err := v.frame(&w, e.off)
		if err != nil {
			return false, err
		}
		r := record.Reader{Rest: body}
		t.ending.decode(&r)
		t.first = r.Uvarint()
		if r.Bad || t.ending.end != e.end {
			return false, v.damage(e.off)
		}
		t.XID, t.Commit, t.End, t.Time = t.ending.xid, t.ending.commit, t.ending.end, time.UnixMicro(t.ending.micros).UTC()
		t.v, t.rest, t.pieces = v, r.Rest, nil
		if t.ending.back != 0 {
			t.pieces = v.long(e.off)
		}
		return yield(t)
	})
}

// Scan calls yield with the same transactions as Read, from memory.
func (l *Log) Scan(tables map[catalog.OID]bool, after, upTo revision.LSN, yield func(xid revision.XID, end revision.LSN) (more bool)) error {
	return l.walk(tables, after, upTo, func(_ *view, e entry) (bool, error) { return yield(e.xid, e.end), nil })
}

// view is a segment as a reader found it.
type view struct {
	l          *Log
	seg        *segment
	generation uint64
	size       int64
	relations  []*catalog.Relation
	found      merge
	at         int64 // of the frame that was read last
}

func (l *Log) walk(tables map[catalog.OID]bool, after, upTo revision.LSN, yield func(*view, entry) (bool, error)) error {
	v := view{l: l}
	for {
		limit, ok, err := v.enter(tables, after, upTo)
		if err != nil || !ok {
			return err
		}
		upTo = limit
		more, err := v.each(upTo, yield)
		l.release(v.seg)
		if err != nil || !more {
			return err
		}
	}
}

func (v *view) each(upTo revision.LSN, yield func(*view, entry) (bool, error)) (more bool, err error) {
	for {
		e, ok := v.found.next()
		if !ok {
			return true, nil
		}
		if e.end > upTo {
			return false, nil
		}
		if more, err := yield(v, e); err != nil || !more {
			return false, err
		}
	}
}

// enter goes to the segment that holds what comes after a position, or to the one
// after the segment at hand. It returns the position up to which there is
// something, and whether there is a segment.
func (v *view) enter(tables map[catalog.OID]bool, after, upTo revision.LSN) (limit revision.LSN, ok bool, err error) {
	l := v.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, false, ErrClosed
	}
	var i int
	if v.seg == nil {
		if after < l.begin {
			return 0, false, fmt.Errorf("%w: it begins at %s, and %s was asked for", ErrTrimmed, l.begin, after)
		}
		upTo = min(upTo, l.end)
		v.generation = l.generation
		i = sort.Search(len(l.segments), func(i int) bool { return l.segments[i].begin > after }) - 1
		if i < 0 || after >= upTo {
			return 0, false, nil
		}
	} else {
		i = sort.Search(len(l.segments), func(i int) bool { return l.segments[i].number > v.seg.number })
		if v.generation != l.generation || i < len(l.segments) && l.segments[i].beforeSecret != v.seg.secret {
			return 0, false, fmt.Errorf("%w: it was trimmed while it was read", ErrTrimmed)
		}
		if i == len(l.segments) || l.segments[i].begin >= upTo {
			return 0, false, nil
		}
	}
	v.seg = l.segments[i]
	v.seg.refs++
	v.size, v.relations = v.seg.size, v.seg.relations
	v.found = v.found[:0]
	if tables == nil {
		for _, x := range v.seg.lists {
			v.found = append(v.found, x.after(after))
		}
		return upTo, true, nil
	}
	v.add(0, after)
	for oid, in := range tables {
		if in && oid != 0 {
			v.add(oid, after)
		}
	}
	return upTo, true, nil
}

func (v *view) add(oid catalog.OID, after revision.LSN) {
	if x := v.seg.lists[oid]; x != nil {
		v.found = append(v.found, x.after(after))
	}
}

// long returns the pieces of a transaction, the end frame being the last.
func (v *view) long(off int64) []piece {
	v.l.mu.RLock()
	defer v.l.mu.RUnlock()
	return v.seg.long[off]
}

// frame reads the body of a frame.
func (v *view) frame(w *window, off int64) ([]byte, error) {
	v.at = off
	if w.seg != v.seg {
		*w = window{seg: v.seg, buf: w.buf}
	}
	head, err := w.get(off, frameHead)
	if err != nil {
		return nil, v.broken(off, err)
	}
	n := int64(order.Uint32(head))
	if n > v.size-off-frameHead {
		return nil, v.damage(off)
	}
	frame, err := w.get(off, int(frameHead+n))
	if err != nil {
		return nil, v.broken(off, err)
	}
	if order.Uint32(frame[4:]) != checksum(frame, v.seg.secret, off) {
		return nil, v.damage(off)
	}
	return frame[frameHead:], nil
}

// damage notes that the segment is damaged: it goes with the next append.
func (v *view) damage(off int64) error { return v.broken(off, ErrDamaged) }

func (v *view) broken(off int64, err error) error {
	v.l.mu.Lock()
	v.seg.damaged = true
	if v.generation == v.l.generation {
		v.l.damaged = true
	}
	v.l.mu.Unlock()
	return v.l.fail("read", fmt.Errorf("%s at byte %d: %w", v.seg.path, off, err))
}

// window is what was read of a segment last.
type window struct {
	seg *segment
	buf []byte
	off int64
	end int64
}

const (
	windowLeast = 4 << 10
	windowMost  = 64 << 10
)

// get returns n bytes from off on, which hold until the next call. Who reads on
// where the window ends gets more at once.
func (w *window) get(off int64, n int) ([]byte, error) {
	if off >= w.off && off+int64(n) <= w.end {
		return w.buf[off-w.off : off-w.off+int64(n)], nil
	}
	size := windowLeast
	if off >= w.off && off <= w.end {
		size = windowMost
	}
	size = max(size, n)
	if cap(w.buf) < size || cap(w.buf) > 16*windowMost && size <= windowMost {
		w.buf = make([]byte, size)
	}
	got, err := w.seg.f.ReadAt(w.buf[:size], off)
	w.off, w.end = off, off+int64(got)
	if got < n {
		w.end = w.off
		return nil, err
	}
	return w.buf[:n], nil
}
