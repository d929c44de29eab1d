package table

import (
	"bytes"
	"context"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// reader takes messages from the kept log into a batch.
type reader struct {
	builder *builder
	from    live.Offset // all messages at or before it are left out
	tables  map[catalog.OID]bool
	open    revision.LSN // of the last message's transaction, if more of it may come
	scratch []byte
	queue   []item // that Postgres has to decide
	hint    hint
	most    int          // of the queue
	left    int          // transactions that it may go through
	last    revision.LSN // that it went through
	scanned revision.LSN
}

// Bounds of the changes that wait for a question to Postgres. The first questions
// are small: what the batch has no room for is asked again for the next.
const (
	leastQueue = 32
	mostQueue  = 512
)

// readTurn is read, by a bounded number of readers at a time.
func (r *reader) readTurn(ctx context.Context, to revision.LSN) (scanned revision.LSN, err error) {
	h := r.builder.shape.hub
	select {
	case h.readers <- struct{}{}:
		defer func() { <-h.readers }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	h.fromLog.Add(1)
	return r.read(ctx, to)
}

// read goes on until the batch is full, up to a position, or until it has gone
// through enough transactions. It returns up to where every change has been dealt
// with.
func (r *reader) read(ctx context.Context, to revision.LSN) (scanned revision.LSN, err error) {
	s := r.builder.shape
	after := r.from.LSN
	if r.from.Index != live.Whole {
		after-- // the transaction that it is in, again
	}
	r.tables, r.scanned = s.def.tables, after
	s.mu.Lock()
	r.hint = s.hint
	s.mu.Unlock()
	whole := true
	err = s.hub.log.Read(ctx, r.tables, after, to, func(tx *keep.Tx) (more bool, err error) {
		if r.left == 0 {
			whole = false
			return false, nil
		}
		r.left--
		if !s.inside(tx.XID, tx.End) {
			if err := r.transaction(ctx, tx); err != nil {
				return false, err
			}
		}
		if r.builder.full {
			return false, nil
		}
		if r.last = tx.End; len(r.queue) == 0 {
			r.scanned = tx.End
			if len(r.builder.messages) >= s.hub.opts.ChunkBytes {
				r.close()
				r.builder.full = true
				return false, nil
			}
		}
		return true, nil
	})
	if err == nil && !r.builder.full {
		err = r.flush(ctx)
	}
	if err == nil && !r.builder.full {
		r.close()
		if r.scanned = max(r.scanned, r.last); whole {
			r.scanned = to
		}
	}
	return r.scanned, err
}

// near is the number of changes that are rather passed over than jumped.
const near = 1000

func (r *reader) transaction(ctx context.Context, tx *keep.Tx) error {
	first := uint64(0)
	if tx.End == r.from.LSN {
		if r.from.Index == live.Whole {
			return nil
		}
		first = r.from.Index / 2
	}
	if r.hint.end != tx.End {
		return tx.Each(first, r.tables, func(index uint64, c *change.Change) (more bool, err error) {
			return r.change(ctx, tx, index, c)
		})
	}
	numbers := r.hint.numbers
	for len(numbers) > 0 && !r.builder.full {
		if numbers[0] < first {
			numbers = numbers[1:]
			continue
		}
		left := len(numbers)
		err := tx.Each(numbers[0], r.tables, func(index uint64, c *change.Change) (more bool, err error) {
			if c.Op == change.Define || index < numbers[0] {
				return true, nil
			}
			for len(numbers) > 0 && numbers[0] < index {
				numbers = numbers[1:] // of a table that is not kept
			}
			if len(numbers) == 0 || numbers[0] > index {
				return len(numbers) > 0 && numbers[0]-index < near, nil
			}
			numbers = numbers[1:]
			more, err = r.change(ctx, tx, index, c)
			return more && len(numbers) > 0 && numbers[0]-index < near, err
		})
		if err != nil {
			return err
		}
		if len(numbers) == left { // it is not kept
			numbers = numbers[1:]
		}
	}
	return nil
}

// change takes one change.
func (r *reader) change(ctx context.Context, tx *keep.Tx, index uint64, c *change.Change) (more bool, err error) {
	s := r.builder.shape
	it, ok, err := s.judge(c)
	if err != nil || !ok {
		return err == nil, err
	}
	it.xid, it.end, it.index = tx.XID, tx.End, index
	if s.def.decided {
		err = r.emit(&it)
	} else {
		it.c = clone(c)
		if r.queue = append(r.queue, it); len(r.queue) >= max(leastQueue, r.most) {
			err = r.flush(ctx)
		}
	}
	return err == nil && !r.builder.full, err
}

// clone copies a change that holds during a call.
func clone(c *change.Change) *change.Change {
	out := *c
	out.Old, out.New = cloneRow(c.Old), cloneRow(c.New)
	return &out
}

func cloneRow(row change.Row) change.Row {
	if row == nil {
		return nil
	}
	n := 0
	for i := range row {
		n += len(row[i].Text)
	}
	text := make([]byte, 0, n)
	out := make(change.Row, len(row))
	for i, v := range row {
		start := len(text)
		text = append(text, v.Text...)
		out[i] = change.Value{Kind: v.Kind, Text: text[start:len(text):len(text)]}
	}
	return out
}

// flush has Postgres decide what is queued.
func (r *reader) flush(ctx context.Context) error {
	if len(r.queue) == 0 {
		return nil
	}
	if err := r.builder.shape.ask(ctx, r.queue); err != nil {
		return err
	}
	for i := range r.queue {
		if err := r.emit(&r.queue[i]); err != nil {
			return err
		}
		if r.builder.full {
			break
		}
	}
	clear(r.queue)
	r.queue, r.most = r.queue[:0], min(mostQueue, 2*max(leastQueue, r.most))
	return nil
}

// emit adds the messages of an item to the batch, those that have been received
// left out.
func (r *reader) emit(it *item) error {
	b := r.builder
	var n int
	var err error
	if r.scratch, n, err = b.shape.encode(r.scratch[:0], it); err != nil {
		return err
	}
	rest := r.scratch
	for i := range n {
		message, after, _ := bytes.Cut(rest, []byte(separator))
		rest = after
		at := live.Offset{LSN: it.end, Index: 2*it.index + uint64(i)}
		if at.Compare(r.from) <= 0 {
			continue
		}
		if r.open != it.end {
			r.close()
		}
		if len(b.messages) >= b.shape.hub.opts.ChunkBytes {
			b.full = true
			return nil
		}
		b.add(at, message)
		r.open = it.end
	}
	return nil
}

// close marks the last message as that of its transaction.
func (r *reader) close() {
	if r.open != 0 {
		r.builder.messages = live.MarkLast(r.builder.messages)
		r.open = 0
	}
}
