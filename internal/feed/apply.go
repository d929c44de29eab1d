package feed

import (
	"context"
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/replication"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// apply takes batches from the queue until it ends, and returns why it did.
func (s *session) apply(ctx context.Context) error {
	var batches []replication.Batch
	for {
		var err error
		if batches, err = s.queue.take(batches); err != nil {
			return err
		}
		if err := s.applyAll(ctx, batches); err != nil {
			return err
		}
	}
}

// applyAll applies batches, and releases them. It runs in one goroutine at a
// time, which the queue sees to: the reader's own, or the session's.
func (s *session) applyAll(ctx context.Context, batches []replication.Batch) (err error) {
	for i := range batches {
		if err == nil {
			err = s.applyBatch(ctx, &batches[i])
		}
		batches[i].Release()
	}
	return err
}

func (s *session) applyBatch(ctx context.Context, b *replication.Batch) error {
	var idle revision.LSN // the last of a row of keepalives
	for {
		m, ok, err := b.Next()
		if err != nil {
			return fail("stream", err)
		}
		if !ok {
			break
		}
		if m.Keepalive {
			idle = max(idle, s.assembler.bound(m.End))
			continue
		}
		c, err := s.assembler.message(m.Data)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		s.advance(idle)
		idle = 0
		err = s.commit(ctx, c)
		s.assembler.release(c.pending)
		if err != nil {
			return err
		}
	}
	s.advance(idle)
	return nil
}

// commit hands a transaction to the sink, unless that has it already.
func (s *session) commit(ctx context.Context, c *committed) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if c.end <= s.position() {
		return s.builder.skip(c)
	}
	s.xid = revision.Widen(c.xid, s.xid)
	t, err := s.builder.build(c, s.xid)
	if err != nil {
		return err
	}
	if t.Count > 0 {
		if err := s.feed.sink.Apply(ctx, t); err != nil {
			return &Error{Op: "apply", Err: fmt.Errorf("%w: transaction %d ending at %v: %w", ErrSink, t.XID, t.End, err)}
		}
	}
	s.builder.relations.applied()
	st := &s.feed.status
	st.transactions.Add(1)
	st.changes.Add(uint64(t.Count))
	st.bytes.Add(uint64(t.Bytes))
	if t.Spilled != nil {
		st.spilledCount.Add(1)
	}
	st.lastCommit.Store(t.Time.UnixNano())
	s.advance(t.End)
	return nil
}

// advance moves the frontier, never back.
func (s *session) advance(lsn revision.LSN) {
	if lsn <= s.position() {
		return
	}
	s.feed.sink.Advance(lsn)
	// What is stored here may be acknowledged at once, so it comes last.
	s.feed.memory.covered = lsn
	s.covered.Store(uint64(lsn))
	raise(&s.feed.status.applied, lsn)
	s.progress = true
}
