package table

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// builder makes the batch after one offset.
type builder struct {
	shape *Shape
	after live.Offset // where the client is
	at    live.Offset // up to where messages holds everything
	end   live.Offset // of the last message, if there is one

	messages []byte
	full     bool
	limit    revision.LSN // as it was at first: what comes meanwhile is for the next batch
}

// build makes the batch, or returns one that somebody has made.
func (b *builder) build(ctx context.Context) (*live.Batch, error) {
	s := b.shape
	var turn *reading
	defer func() {
		if turn != nil {
			s.mu.Lock()
			delete(s.reading, b.after)
			s.mu.Unlock()
			close(turn.done)
		}
	}()
	for {
		s.mu.Lock()
		if err := s.gone(); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		if b.limit < s.snapshot.Upper {
			if b.limit = s.limit(); b.limit < s.snapshot.Upper {
				s.mu.Unlock()
				if err := s.hub.reach(ctx, s.snapshot.Upper); err != nil {
					return nil, err
				}
				continue
			}
		}
		limit := b.limit
		if turn == nil {
			if found := s.find(b.after, limit); found != nil {
				s.mu.Unlock()
				return found, nil
			}
		}
		switch {
		case b.full || b.at.LSN >= limit && (b.at.LSN > limit || b.at.Index == live.Whole) || s.silent(b.at, limit):
			defer s.mu.Unlock()
			return b.finish(limit), nil
		case b.at.Compare(s.from) >= 0:
			todo := s.unevaluated(b.at, limit, len(b.messages))
			switch {
			case todo == nil:
				b.gather(limit)
				s.mu.Unlock()
			case s.evaluating != nil:
				wait := s.evaluating
				s.mu.Unlock()
				select {
				case <-wait:
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			default:
				s.evaluating = make(chan struct{})
				s.mu.Unlock()
				if err := s.evaluate(ctx, todo); err != nil {
					return nil, err
				}
			}
		case turn == nil && s.reading[b.after] != nil:
			other := s.reading[b.after]
			s.mu.Unlock()
			select {
			case <-other.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			if err := other.err; err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				return nil, err
			}
		default:
			if turn == nil {
				turn = &reading{done: make(chan struct{})}
				if s.reading == nil {
					s.reading = map[live.Offset]*reading{}
				}
				s.reading[b.after] = turn
			}
			from, to := b.at, min(limit, s.from.LSN)
			if from.Compare(s.quiet.from) >= 0 && s.quiet.to >= from.LSN {
				from = live.Offset{LSN: s.quiet.to, Index: live.Whole}
			}
			s.mu.Unlock()
			if turn.err = b.read(ctx, from, to); turn.err != nil {
				return nil, turn.err
			}
		}
	}
}

// find returns a batch made before. mu is held.
func (s *Shape) find(after live.Offset, limit revision.LSN) *live.Batch {
	for i := range s.made {
		m := &s.made[i]
		if m.batch != nil && m.after == after && (!m.batch.UpToDate || m.batch.At == limit) {
			return m.batch
		}
	}
	return nil
}

// finish makes the batch of what was gathered. Shape.mu is held.
func (b *builder) finish(limit revision.LSN) *live.Batch {
	s := b.shape
	out := &live.Batch{Messages: b.messages, End: b.after}
	at := b.at.LSN
	if len(b.messages) > 0 {
		out.End = b.end
		at = b.end.LSN
	}
	if !b.full {
		out.UpToDate, out.At = true, max(limit, b.at.LSN)
		if at < s.hub.log.Middle() && at < out.At {
			// So that it does not fall out of the kept log although nothing happens.
			out.End = live.Offset{LSN: out.At, Index: live.Whole}
		}
	}
	s.hub.batches.Add(1)
	slot := s.madeNext
	for i := range s.made {
		if s.made[i].after == b.after && s.made[i].batch != nil {
			slot = i
		}
	}
	s.forget(slot)
	if s.hub.crowded() {
		return out
	}
	s.made[slot] = madeBatch{b.after, out}
	s.hub.tailBytes.Add(int64(len(out.Messages)))
	if slot == s.madeNext {
		s.madeNext = (slot + 1) % len(s.made)
	}
	return out
}

// crowded reports whether there is no room in memory for more messages.
func (h *Hub) crowded() bool { return h.tailBytes.Load() > h.opts.MaxTail }

// forget forgets a batch that was made. mu is held.
func (s *Shape) forget(slot int) {
	if b := s.made[slot].batch; b != nil {
		s.hub.tailBytes.Add(-int64(len(b.Messages)))
		s.made[slot] = madeBatch{}
	}
}

// forgetAll forgets all batches that were made. mu is held.
func (s *Shape) forgetAll() {
	for i := range s.made {
		s.forget(i)
	}
}

// search returns the first touch that may have messages after an offset. mu is held.
func (s *Shape) search(at live.Offset) int {
	return sort.Search(len(s.tail), func(i int) bool { return s.tail[i].end >= at.LSN })
}

// maxEvaluated bounds the touches that are evaluated at a time.
const maxEvaluated = 64

// unevaluated returns the touches after an offset that have to be evaluated before
// a batch with size bytes can be filled, or nil. mu is held.
func (s *Shape) unevaluated(at live.Offset, limit revision.LSN, size int) []*touch {
	for i := s.search(at); i < len(s.tail) && s.tail[i].end <= limit && size < s.hub.opts.ChunkBytes; i++ {
		if t := s.tail[i]; t.done {
			size += len(t.messages) - t.received(at)
			continue
		}
		var todo []*touch
		for ; i < len(s.tail) && s.tail[i].end <= limit && len(todo) < maxEvaluated; i++ {
			if !s.tail[i].done {
				todo = append(todo, s.tail[i])
			}
		}
		return todo
	}
	return nil
}

// received returns how many bytes of a touch's messages are at or before an offset.
func (t *touch) received(at live.Offset) int {
	n := 0
	for _, p := range t.parts {
		if (live.Offset{LSN: t.end, Index: p.index}).Compare(at) > 0 {
			break
		}
		n = p.end
	}
	return n
}

// gather takes messages from the tail, of which as much as fits is evaluated.
// Shape.mu is held.
func (b *builder) gather(limit revision.LSN) {
	s := b.shape
	most := s.hub.opts.ChunkBytes
	for i := s.search(b.at); i < len(s.tail) && s.tail[i].end <= limit; i++ {
		t := s.tail[i]
		if !t.done {
			b.full = len(b.messages) >= most
			return
		}
		start := 0
		for _, p := range t.parts {
			if offset := (live.Offset{LSN: t.end, Index: p.index}); offset.Compare(b.at) > 0 {
				if len(b.messages) >= most {
					b.full = true
					return
				}
				b.add(offset, t.messages[start:p.end])
			}
			start = p.end + len(separator)
		}
		b.at = live.Offset{LSN: t.end, Index: live.Whole}
	}
	b.at = live.Offset{LSN: max(limit, b.at.LSN), Index: live.Whole}
}

// separator stands between two messages, and in none.
const separator = ",\n"

// add adds one message.
func (b *builder) add(at live.Offset, message []byte) {
	if len(b.messages) > 0 {
		b.messages = append(b.messages, separator...)
	}
	b.messages = append(b.messages, message...)
	b.at, b.end = at, at
}

// cut moves the beginning of the tail behind a transaction of which nobody knows
// what it does to the shape. mu is held.
func (s *Shape) cut(end revision.LSN) {
	n, from, known := 0, s.from, true
	for ; n < len(s.tail) && s.tail[n].end <= end; n++ {
		switch t := s.tail[n]; {
		case t.end == end:
		case !t.done:
			known = false
		case len(t.parts) > 0:
			from, known = t.last(), true
		}
	}
	if known {
		s.setQuiet(quiet{from, end - 1})
	}
	s.drop(n)
	if at := (live.Offset{LSN: end, Index: live.Whole}); at.Compare(s.from) > 0 {
		s.from = at
	}
}

// trim forgets the touches up to a position. mu is held.
func (s *Shape) trim(to revision.LSN) {
	n := 0
	for ; n < len(s.tail) && s.tail[n].end <= to; n++ {
		switch t := s.tail[n]; {
		case !t.done:
			s.drop(n)
			s.cut(t.end)
			n = -1
		case len(t.parts) > 0 && t.last().Compare(s.from) > 0:
			s.from = t.last()
		}
	}
	s.drop(n)
}

// relieve drops evaluated touches while there is too much in memory. mu is held.
func (s *Shape) relieve() {
	n := 0
	for ; n < len(s.tail) && s.tail[n].done && s.hub.tailBytes.Load() > s.hub.opts.MaxTail; n++ {
		if t := s.tail[n]; len(t.parts) > 0 && t.last().Compare(s.from) > 0 {
			s.from = t.last()
		}
		s.hub.tailBytes.Add(-int64(len(s.tail[n].messages)))
		s.tail[n].messages, s.tail[n].parts = nil, nil
	}
	s.drop(n)
}

// drop takes the first touches from the tail. mu is held.
func (s *Shape) drop(n int) {
	for _, t := range s.tail[:n] {
		s.hub.tailBytes.Add(-int64(len(t.messages)))
		if !t.done {
			s.hub.recent.release(t.rec)
		}
	}
	s.tail = slices.Delete(s.tail, 0, n)
	if len(s.tail) == 0 && cap(s.tail) > 16 {
		s.tail = nil
	}
}

// setQuiet notes a stretch without messages. mu is held.
func (s *Shape) setQuiet(q quiet) {
	if q.to < q.from.LSN || q.to == q.from.LSN && q.from.Index == live.Whole {
		return
	}
	if o := s.quiet; o.from.Compare(q.from) < 0 && o.to >= q.from.LSN && o.to <= q.to {
		q.from = o.from // the two are one
	}
	s.quiet = q
	if q.to >= s.from.LSN && q.from.Compare(s.from) < 0 {
		s.from = q.from // the tail has what comes after
	}
}

// maxScanned bounds the transactions that one shape reads in search of the first
// message: more are looked through for all shapes at once.
const maxScanned = 256

// read takes messages from the kept log, after from and up to to.
func (b *builder) read(ctx context.Context, from live.Offset, to revision.LSN) error {
	s := b.shape
	if s.hub.log.End() < to {
		return keep.ErrStopped
	}
	r := reader{builder: b, from: from, left: s.hub.scan}
	scanned, err := r.readTurn(ctx, to)
	s.mu.Lock()
	if len(b.messages) == 0 {
		// Whoever comes next need not look at this again.
		s.setQuiet(quiet{b.at, scanned})
	}
	if err == nil && !b.full && scanned == to {
		b.at = live.Offset{LSN: to, Index: live.Whole}
	}
	s.mu.Unlock()
	switch {
	case err != nil || b.full || scanned == to:
		return err
	case len(b.messages) > 0:
		b.full = true
		return nil
	}
	return s.hub.catchUp(ctx, &search{shape: s, from: live.Offset{LSN: scanned, Index: live.Whole}, to: to})
}
