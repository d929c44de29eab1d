package revision

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Position is where a primary stands: a snapshot, and then, read in this order,
// how far the log is written and how far it is on disk.
type Position struct {
	Source        Source
	Snapshot      Snapshot
	Insert, Flush LSN
}

// Primary is asked where the database stands. Ask must answer with a position
// that was read after the call.
type Primary interface {
	Ask(ctx context.Context) (Position, error)
}

// Errors of the gate that callers test for.
var (
	// ErrFutureToken: the primary has not written that far.
	ErrFutureToken = errors.New("token is beyond what the database has written")
	// ErrNotReached: the frontier did not pass the position in time.
	ErrNotReached = errors.New("the log has not been applied that far")
	// ErrForgotten: the transaction is over, and where it committed is not known
	// any more.
	ErrForgotten = errors.New("transaction is too long ago")
	// ErrBoundToken: the token names no exact position.
	ErrBoundToken = errors.New("token names no exact snapshot")
	// ErrSplit: the database that answers does not write the log that is
	// followed, as for a moment after a failover.
	ErrSplit = errors.New("the database that answers is not the one whose log is followed")
)

// Gate decides, for every face, when a request may be answered.
type Gate struct {
	Frontier *Frontier
	Primary  Primary
	// Committed returns where a transaction of the recent past ended.
	Committed func(XID) (LSN, bool)
	// Patience is how long a fully consistent request waits for the log before
	// the database itself is asked instead.
	Patience time.Duration
}

// Passage says what a request that passed the gate may be given.
type Passage struct {
	Level Level
	// Position has been passed by the frontier, unless Unreached.
	Position LSN
	// XID is the transaction that the token named, if it was one.
	XID XID
	// Unreached says that the log is behind what the request needs. What the
	// database itself says now still satisfies fully_consistent.
	Unreached bool
}

// Pass waits until the frontier satisfies a requirement. ctx carries the
// deadline.
func (g *Gate) Pass(ctx context.Context, req Requirement) (Passage, error) {
	p := Passage{Level: req.Level}
	switch req.Level {
	case MinimizeLatency:
		return p, nil
	case FullyConsistent:
		return g.passFully(ctx, p)
	}
	t := req.Token
	if here := g.Frontier.Source; t.Source != here {
		return p, fmt.Errorf("%w: it names system %d timeline %d; this is system %d timeline %d", ErrForeignToken,
			t.Source.SystemID, t.Source.Timeline, here.SystemID, here.Timeline)
	}
	if t.Kind == KindBound && req.Level == AtExactSnapshot {
		return p, ErrBoundToken
	}
	p.Position = t.LSN
	if t.Kind == KindTransaction {
		p.XID = t.XID
		var err error
		if p.Position, err = g.passTransaction(ctx, t, req.Level); err != nil {
			return p, err
		}
	}
	return p, g.passPosition(ctx, p.Position)
}

func (g *Gate) passFully(ctx context.Context, p Passage) (Passage, error) {
	pos, err := g.ask(ctx)
	if err != nil {
		return p, err
	}
	p.Position = pos.Insert
	if g.Frontier.Load() >= p.Position {
		return p, nil
	}
	patience, cancel := context.WithTimeout(ctx, g.Patience)
	defer cancel()
	if err := g.Frontier.Wait(patience, p.Position); err != nil {
		if ctx.Err() != nil || patience.Err() == nil {
			return p, waitError(ctx, err)
		}
		p.Unreached = true
	}
	return p, nil
}

// grace is how long the log is waited for before the primary is asked whether
// the position exists at all.
const grace = 10 * time.Millisecond

func (g *Gate) passPosition(ctx context.Context, lsn LSN) error {
	if g.Frontier.Load() >= lsn {
		return nil
	}
	short, cancel := context.WithTimeout(ctx, grace)
	err := g.Frontier.Wait(short, lsn)
	cancel()
	if err == nil {
		return nil
	}
	pos, err := g.ask(ctx)
	if err != nil {
		return err
	}
	if lsn > pos.Insert {
		return fmt.Errorf("%w: it names %s, the log ends at %s", ErrFutureToken, lsn, pos.Insert)
	}
	return waitError(ctx, g.Frontier.Wait(ctx, lsn))
}

// passTransaction returns a position that holds the transaction if it committed.
func (g *Gate) passTransaction(ctx context.Context, t Token, level Level) (LSN, error) {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		// A token is made before its transaction commits. One that ended before is
		// another, to which a crash gave the id of one that it undid.
		if end, ok := g.Committed(t.XID); ok && end > t.LSN {
			return end, nil
		}
		pos, err := g.ask(ctx)
		if err != nil {
			return 0, err
		}
		if t.LSN > pos.Insert {
			return 0, fmt.Errorf("%w: it names transaction %d at %s, the log ends at %s", ErrFutureToken,
				t.XID, t.LSN, pos.Insert)
		}
		if pos.Snapshot.Contains(t.XID) {
			// It is over. If it committed, and to any purpose, the log brings it
			// before this position.
			if err := g.Frontier.Wait(ctx, pos.Insert); err != nil {
				return 0, waitError(ctx, err)
			}
			if end, ok := g.Committed(t.XID); ok && end > t.LSN {
				return end, nil
			}
			if level == AtLeastAsFresh {
				return pos.Insert, nil
			}
			return 0, fmt.Errorf("%w: transaction %d", ErrForgotten, t.XID)
		}
		select {
		case <-ctx.Done():
			return 0, waitError(ctx, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// ask asks the primary, which must be the one whose log the frontier follows:
// positions of two logs do not compare.
func (g *Gate) ask(ctx context.Context) (Position, error) {
	pos, err := g.Primary.Ask(ctx)
	if err == nil && pos.Source != g.Frontier.Source {
		err = ErrSplit
	}
	return pos, err
}

func waitError(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return ErrNotReached
	}
	return err
}
