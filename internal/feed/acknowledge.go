package feed

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgoutput"
	"github.com/tidemarkdb/tidemark/internal/replication"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

const (
	// askPace is the shortest time between two requests for a reply.
	askPace = 20 * time.Millisecond
	// answerPace is the shortest time between two answers to the server, which
	// while it shuts down asks again as soon as an answer does not satisfy it.
	answerPace = 5 * time.Millisecond
)

// scan looks at what has just come in, ahead of the queue: it answers the
// server even while the sink is slow. Urgent says that the batch completes
// something.
func (s *session) scan(b replication.Batch) (urgent bool, err error) {
	st := &s.feed.status
	for {
		m, ok, err := b.Next()
		if err != nil || !ok {
			return urgent, err
		}
		if m.Keepalive {
			urgent = true
			raise(&st.received, m.End)
			raise(&st.serverEnd, m.End)
			if m.ReplyRequested {
				poke(s.answer)
			}
			continue
		}
		if len(m.Data) == 0 {
			continue
		}
		switch end := 0; pgoutput.Type(m.Data[0]) {
		case pgoutput.TypeCommit, pgoutput.TypeStreamCommit:
			urgent = true
			end = 1 + 1 + 8
			if m.Data[0] == byte(pgoutput.TypeStreamCommit) {
				end += 4
			}
			if len(m.Data) >= end+8 {
				lsn := revision.LSN(binary.BigEndian.Uint64(m.Data[end:]))
				raise(&st.received, lsn)
				raise(&st.serverEnd, lsn)
			}
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func status(at revision.LSN, ask bool) replication.Status {
	return replication.Status{Written: at, Flushed: at, Applied: at, Time: time.Now(), ReplyRequested: ask}
}

// acknowledge sends status updates until ctx ends: with what is settled on every
// tick and when the server asks, and with the last acknowledged position when
// a reply is wanted. It is the only writer of the connection. Where something has
// to be made durable first, that is begun then, and followed by an update of its
// own.
//
// Acknowledging seldom is on purpose. A walsender that has caught up sends a
// keepalive by itself only while it knows us to be behind, and each
// acknowledgement may make it write the slot to disk.
func (s *session) acknowledge(ctx context.Context) error {
	ticker := time.NewTicker(s.tick)
	defer ticker.Stop()
	var (
		asked   time.Time // when the oldest unanswered request was sent
		lastAsk time.Time
		later   = time.NewTimer(0) // for requests and answers that came too soon
		wanted  = true             // a reply: the first tells where the log ends
		due     bool               // an answer to the server
		lastAck time.Time
		flushed <-chan struct{}
	)
	if s.durable != nil {
		flushed = s.durable.done
	}
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			if !s.durable.begin() {
				if err := s.send(s.settled(), false); err != nil {
					return err
				}
				due, lastAck = false, time.Now()
			}
			if s.quiet(asked) {
				wanted = true
			}
		case <-s.answer:
			s.durable.begin()
			due = true
		case <-flushed:
			due = true
		case <-s.feed.replies:
			wanted = true
		case <-later.C:
		}
		now := time.Now()
		if !asked.IsZero() && s.lastHeard().After(asked) {
			asked = time.Time{}
		}
		if !asked.IsZero() && s.listening.Load() && now.Sub(asked) > s.replyTimeout {
			return &Error{Op: "stream", Err: fmt.Errorf("%w for %v", ErrSilent, now.Sub(asked).Round(time.Millisecond))}
		}
		if due && now.Sub(lastAck) >= answerPace {
			if err := s.send(s.settled(), false); err != nil {
				return err
			}
			due, lastAck = false, now
		}
		if wanted && now.Sub(lastAsk) >= askPace {
			if err := s.send(s.acked, true); err != nil {
				return err
			}
			wanted, lastAsk = false, now
			if asked.IsZero() {
				asked = now
			}
		}
		switch {
		case due:
			later.Reset(answerPace - now.Sub(lastAck))
		case wanted:
			later.Reset(askPace - now.Sub(lastAsk))
		}
	}
}

func (s *session) lastHeard() time.Time { return s.began.Add(time.Duration(s.heard.Load())) }

// quiet reports whether it is time to ask the server for a sign of life.
func (s *session) quiet(asked time.Time) bool {
	return asked.IsZero() && s.listening.Load() &&
		time.Since(s.lastHeard()) > min(s.replyTimeout/3, 10*time.Second)
}

func (s *session) send(at revision.LSN, ask bool) error {
	if err := s.stream.SendStatus(status(at, ask), time.Now().Add(s.replyTimeout)); err != nil {
		return fail("stream", err)
	}
	s.acked = at
	s.feed.status.acknowledged.Store(uint64(at))
	return nil
}
