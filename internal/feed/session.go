package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/replication"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// finishTime is how long the server has to agree to the end of a stream.
const finishTime = time.Second

// session is one connection that streams.
type session struct {
	feed   *Feed
	stream *replication.Stream
	info   Session
	queue  *queue

	// covered is the frontier, written by whoever applies.
	covered atomic.Uint64
	acked   revision.LSN // last sent; belongs to the acknowledging goroutine
	durable *durable     // nil: what is covered may be acknowledged

	answer chan struct{} // holds a token while the server waits for a status
	began  time.Time
	heard  atomic.Int64 // when the last message came, in nanoseconds since began
	// listening says that the reader waits for the server, not for the queue or
	// the sink.
	listening atomic.Bool

	tick         time.Duration // between status updates
	replyTimeout time.Duration

	assembler *assembler
	builder   *builder
	xid       revision.XID // near the last transaction's
	progress  bool         // something was applied
}

// session connects, streams until something ends it, and reports why and
// whether anything was achieved.
func (f *Feed) session(ctx context.Context) (progress bool, err error) {
	f.status.connecting()
	p, err := f.prepare(ctx)
	if err != nil {
		return false, err
	}
	modern := p.view.version >= 140000
	opts := replication.StartOptions{
		Slot: f.opts.Slot, Publications: []string{f.opts.Publication},
		From: p.start, Protocol: 1,
	}
	if modern {
		opts.Protocol, opts.Streaming, opts.Messages = 2, true, true
	}
	startCtx, cancel := context.WithTimeout(ctx, checkTimeout)
	stream, err := p.conn.Start(startCtx, opts)
	cancel()
	if err != nil {
		return false, slotError("start", err)
	}
	s := &session{
		feed: f, stream: stream, info: f.enter(p),
		queue:     newQueue(f.opts.QueueBytes),
		answer:    make(chan struct{}, 1),
		assembler: newAssembler(limits{f.opts.MemoryLimit, f.opts.TransactionBytes, f.opts.TransactionChanges}, &f.dir),
		builder:   &builder{relations: newRelations(f.known), viaRoot: p.view.viaRoot},
		xid:       p.xid,
		acked:     p.start,
		began:     time.Now(),
	}
	s.covered.Store(uint64(p.start))
	if f.opts.Flush != nil {
		// A session that goes on in the same epoch starts at what was applied,
		// which need not be durable.
		s.durable = newDurable(f.opts.Flush, f.log)
		s.acked = p.acknowledged
	}
	s.setTimes(p.senderTimeout)
	defer s.assembler.discard()
	f.log.Info("following the log", "from", p.start, "source", s.info.Source, "server", s.info.ServerVersion,
		"epoch", s.info.Epoch, "reason", s.info.Reason, "walsender", stream.PID())
	err = s.run(ctx)
	return s.progress, err
}

// enter brings the feed's memory to where the session begins: in the same
// epoch, or in a new one.
func (f *Feed) enter(p *prepared) Session {
	m := &f.memory
	switch {
	case !m.connected:
		m.epoch, m.reason = 1, "start of the process"
		if p.slotCreated {
			m.reason = "start of the process with a new slot"
		}
	case m.gap != "":
		m.epoch++
		m.reason = m.gap
		f.log.Error("the log does not join up with what came before: new epoch", "epoch", m.epoch, "reason", m.reason)
		// Object ids of another cluster, or of another history of this one, name
		// other tables.
		clear(f.known)
		f.status.applied.Store(0)
		f.status.acknowledged.Store(0)
		f.status.received.Store(0)
		f.status.serverEnd.Store(0)
	}
	m.connected, m.gap, m.stale = true, "", false
	m.source, m.publication, m.covered = p.view.source, p.view.publication, p.start
	raise(&f.status.applied, p.start)
	raise(&f.status.serverEnd, p.view.flushed)
	return Session{
		Source: m.source, Start: p.start, Written: max(p.start, p.view.flushed), Epoch: m.epoch, Reason: m.reason,
		ServerVersion: p.view.version,
	}
}

// setTimes derives the status timing from the server's wal_sender_timeout,
// which is zero when it is off.
func (s *session) setTimes(senderTimeout time.Duration) {
	o := &s.feed.opts
	s.tick, s.replyTimeout = o.StatusInterval, o.ReplyTimeout
	if senderTimeout > 0 {
		s.tick = min(s.tick, max(senderTimeout/4, 10*time.Millisecond))
	}
	if s.replyTimeout <= 0 {
		s.replyTimeout = max(senderTimeout, 3*s.tick)
		if senderTimeout == 0 {
			s.replyTimeout = max(time.Minute, 3*s.tick)
		}
	}
}

// run streams until ctx ends or something fails.
func (s *session) run(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	interrupted := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		s.queue.abort(context.Cause(ctx)) // first, so that the cause is what counts
		s.stream.Interrupt()
	})
	s.feed.status.attach(s.queue)

	var work sync.WaitGroup
	work.Go(func() { s.queue.close(s.read(ctx)) })
	work.Go(func() {
		if err := s.acknowledge(ctx); err != nil {
			cancel(err)
		}
	})
	if s.durable != nil {
		work.Go(func() { s.durable.run(ctx, s.position) })
	}
	connected, err := s.deliver(ctx)
	cancel(err)
	if !unwatch() {
		<-interrupted
	}
	work.Wait() // the reader may be calling the sink
	s.note(err)
	if connected {
		s.feed.sink.Disconnected(err)
	}
	s.end(parent.Err() != nil || errors.Is(err, ErrSink) || errors.Is(err, ErrSpill))
	return err
}

// deliver calls the sink until the session is over, and returns why it is.
func (s *session) deliver(ctx context.Context) (connected bool, err error) {
	if err := s.feed.sink.Connected(ctx, s.info); err != nil {
		return false, &Error{Op: "apply", Err: fmt.Errorf("%w: %w", ErrSink, err)}
	}
	s.feed.status.streaming(s.info, s.stream.PID())
	return true, s.apply(ctx)
}

// note remembers what an error says about the slot.
func (s *session) note(err error) {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "42704" && strings.Contains(pe.Message, s.feed.opts.Publication) {
		// The publication was not there when the log that is being decoded was
		// written, and no new attempt will change that.
		s.feed.memory.stale = true
	}
}

// end closes the connection, in good order if it still works.
func (s *session) end(healthy bool) {
	if !healthy {
		s.stream.Close()
		return
	}
	if s.durable != nil {
		s.durable.flush(s.position())
	}
	at := s.settled()
	if err := s.stream.Finish(status(at, false), time.Now().Add(finishTime)); err != nil {
		s.feed.log.Debug("the stream did not end in good order", "err", err)
		return
	}
	raise(&s.feed.status.acknowledged, at)
}

func (s *session) position() revision.LSN { return revision.LSN(s.covered.Load()) }

// settled returns up to where everything may be acknowledged. It never goes back.
func (s *session) settled() revision.LSN {
	at := s.position()
	if s.durable != nil {
		at = max(s.acked, min(at, s.durable.position()))
	}
	return at
}

// read moves what the server sends into the queue, or applies it, until the
// connection or the sink fails.
func (s *session) read(ctx context.Context) error {
	st := &s.feed.status
	var spare []replication.Batch
	for {
		s.listening.Store(true)
		b, err := s.stream.Receive()
		s.listening.Store(false)
		if err != nil {
			return fail("stream", err)
		}
		s.hear()
		st.lastMessage.Store(time.Now().UnixNano())
		urgent, err := s.scan(b)
		if err != nil {
			b.Release()
			return fail("stream", err)
		}
		own, ok := s.queue.put(b, urgent, spare)
		if !ok {
			return errors.New("stopped")
		}
		if own != nil {
			if err := s.applyAll(ctx, own); err != nil {
				return err
			}
			spare = own
		}
		s.hear() // the time since is no silence of the server
	}
}

func (s *session) hear() { s.heard.Store(int64(time.Since(s.began))) }
