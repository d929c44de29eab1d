package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// stitch is a load under way: what was read at one snapshot, and the transactions
// of the log since before it was taken.
type stitch struct {
	base    *base // nil until everything has been read
	pending []*perm.Delta
	updates int // in pending
	err     error
}

// maxPending bounds the updates that are held while a load is under way.
const maxPending = 5_000_000

// Forget drops everything: another log is about to begin. Nothing is loaded
// before Connected.
func (b *Backend) Forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.End()
	b.stitch, b.paused = nil, false
	b.applied, b.unseen = 0, nil
	b.decoder = decoder{}
}

// Connected says that a connection to the log begins, after the host knows which
// transactions are under way.
func (b *Backend) Connected() {
	b.mu.Lock()
	defer b.mu.Unlock()
	// A crash of the database may have taken commits with it that a snapshot of
	// before showed. What was only being loaded begins again. What has been loaded
	// rests on what was on disk.
	if _, err := b.state.Current(); err != nil && !b.paused {
		b.restart()
	}
	// Definitions may have changed that the log will not tell of.
	b.doubt()
}

// restart makes the state one that is loading. mu is held.
func (b *Backend) restart() {
	b.state.End()
	b.paused = false
	b.stitch = &stitch{}
	b.decoder = decoder{}
	b.wake()
}

// Apply takes one transaction of the log.
func (b *Backend) Apply(tx *change.Transaction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if tx.End <= b.applied {
		return // the host failed after this was done
	}
	b.applied = tx.End
	d, err := b.decoder.transaction(tx, b.bound)
	if d.relevant || err != nil || b.stitch != nil || b.paused {
		b.unseen = append(b.unseen, tx.XID)
	}
	switch {
	case err != nil:
		b.fail(err)
		return
	case d.reload != "":
		b.log.Warn("the relationships are loaded again", "reason", d.reload, "position", tx.End.String())
		b.restart()
		return
	case d.ignored > 0:
		b.ignored.Add(int64(d.ignored))
		b.log.Warn("rows that are no relationship are left out", "rows", d.ignored, "for example", d.example, "position", tx.End.String())
	}
	if d.Delta != nil {
		if s := b.stitch; s != nil {
			s.take(d.Delta)
		} else if err := b.state.Apply(d.Delta); err != nil {
			b.fail(err)
			return
		}
	}
	if d.defines {
		b.doubt()
	}
}

// fail gives up what is known: it cannot be right any more. mu is held.
func (b *Backend) fail(err error) {
	b.log.Error("the log's changes cannot be applied to the relationships, which are loaded again", "err", err)
	b.restart()
	b.failure.Store(&err)
}

// take keeps a transaction, or applies it if the base has been read.
func (s *stitch) take(d *perm.Delta) {
	switch {
	case s.err != nil:
	case s.base != nil:
		s.err = s.base.apply(d)
	default:
		s.pending = append(s.pending, d)
		if s.updates += len(d.Updates); s.updates > maxPending {
			s.pending = nil
			s.err = fmt.Errorf("more than %d changes came while the relationships were being read", maxPending)
		}
	}
}

// base is the graph that is being loaded.
type base struct {
	bound         *bound
	suspect       uint64
	graph         *graph.Graph
	schema        *string
	schemaVersion int64
	counters      map[string]graph.Filter
	snapshot      revision.Snapshot
	// upper is a position at or behind every commit that the snapshot holds.
	upper revision.LSN
	// last is where the last transaction that was applied ends.
	last revision.LSN
}

// apply takes a transaction, unless the snapshot held it.
func (l *base) apply(d *perm.Delta) error {
	if l.snapshot.Contains(d.XID) {
		return nil
	}
	l.last = d.End
	if d.Schema != nil && d.SchemaVersion > l.schemaVersion {
		l.schema, l.schemaVersion = d.Schema, d.SchemaVersion
	}
	for name, f := range d.Counters {
		if f == nil {
			delete(l.counters, name)
		} else {
			l.counters[name] = *f
		}
	}
	if len(d.Updates) == 0 {
		return nil
	}
	_, err := l.graph.Apply(d.Updates)
	return err
}

// Run loads the relationships whenever that is needed, until ctx ends.
func (b *Backend) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, loop := range []func(context.Context){b.load, b.sweep, b.poll, b.collect} {
		wg.Go(func() { loop(ctx) })
	}
	wg.Wait()
}

// sweep forgets what is too old, and which transactions can be seen by now.
func (b *Backend) sweep(ctx context.Context) {
	for pause(ctx, time.Second) == nil {
		b.state.Sweep(time.Now())
		b.mu.Lock()
		n := len(b.unseen)
		b.mu.Unlock()
		if n == 0 {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, b.opts.WaitTimeout)
		frontier := b.host.Frontier()
		pos, err := b.host.Ask(ask)
		cancel()
		if err != nil || pos.Source != frontier.Source {
			continue
		}
		b.mu.Lock()
		// What one query of a primary has seen, all later ones see: it came through
		// the log, so it is on disk.
		b.unseen = slices.DeleteFunc(b.unseen, pos.Snapshot.Contains)
		b.mu.Unlock()
	}
}

// poll looks at the mapped tables now and then, in case the log does not tell of
// a definition.
func (b *Backend) poll(ctx context.Context) {
	if b.opts.Mapping == nil || b.opts.PollInterval == 0 {
		return
	}
	for pause(ctx, b.opts.PollInterval) == nil {
		b.mu.Lock()
		if b.stitch == nil && b.bound != nil && !b.paused {
			b.suspect++
			b.wake()
		}
		b.mu.Unlock()
	}
}

// load does what is to be done about the state whenever it is woken.
func (b *Backend) load(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-b.work:
		}
		for wait := 50 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
			b.mu.Lock()
			s := b.stitch
			b.mu.Unlock()
			began := time.Now()
			var err error
			if s != nil {
				err = b.loadInto(ctx, s)
			} else {
				err = b.lookAgain(ctx)
			}
			if err == nil {
				b.failure.Store(nil)
				if s == nil {
					break
				}
				b.log.Info("the relationships are in memory", "relationships", b.loading.read.Load(), "took", time.Since(began))
				break
			}
			if ctx.Err() != nil {
				return
			}
			if errors.Is(err, errOvertaken) {
				wait = 50 * time.Millisecond
				continue
			}
			b.failure.Store(&err)
			b.log.Error("the relationships could not be loaded; trying again", "err", err)
			_ = pause(ctx, wait) // the loop's condition sees the end
		}
	}
}

// errOvertaken: another load has to begin.
var errOvertaken = errors.New("the load was overtaken")

// loadInto reads everything and joins it to the log. What came of a load that
// fails is of no use to the next.
func (b *Backend) loadInto(ctx context.Context, s *stitch) (err error) {
	defer func() {
		if err == nil {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.stitch == s {
			b.restart()
		}
	}()
	l, err := b.read(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	if b.stitch != s {
		b.mu.Unlock()
		return errOvertaken
	}
	for _, d := range s.pending {
		if s.err == nil {
			s.err = l.apply(d)
		}
	}
	s.base, s.pending = l, nil
	b.mu.Unlock()
	// Until the log has passed what the snapshot held, the graph is ahead of it in
	// parts, and of no position. Only what is on disk comes through the log, so a
	// crash cannot take back what is then known.
	frontier := b.host.Frontier()
	wait, cancel := context.WithTimeout(ctx, stitchTimeout)
	err = frontier.Wait(wait, l.upper)
	cancel()
	if err != nil {
		return fmt.Errorf("the log did not reach %s: %w", l.upper, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stitch != s || b.host.Frontier() != frontier:
		return errOvertaken
	case s.err != nil:
		return s.err
	case b.suspect != l.suspect:
		return errOvertaken // what the rows mean may have changed after it was looked at
	}
	b.state.Begin(max(frontier.Load(), l.last), l.start())
	b.stitch = nil
	return nil
}

const stitchTimeout = time.Minute

func (l *base) start() perm.Start {
	return perm.Start{Graph: l.graph, Schema: l.schema, SchemaVersion: l.schemaVersion, Counters: l.counters}
}

// loaded waits until the relationships are in memory.
func (b *Backend) loaded(ctx context.Context) error {
	for {
		if _, err := b.state.Current(); err == nil {
			return nil
		}
		begun := b.state.Begun()
		if _, err := b.state.Current(); err == nil {
			return nil
		}
		select {
		case <-begun:
		case <-ctx.Done():
			if err := b.failure.Load(); err != nil {
				return fmt.Errorf("%w; the last attempt failed: %w", perm.ErrLoading, *err)
			}
			return fmt.Errorf("%w: %s", perm.ErrLoading, b.loading.String())
		}
	}
}
