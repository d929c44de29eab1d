package table

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// define is a transaction that changed some definition.
type define struct {
	number uint64 // Hub.defined is at least this once it counts
	xid    revision.XID
	before revision.LSN // everything that ends at or before it came before
}

// define notes that the transaction at hand changes a definition. Nobody is told
// of it, or of what follows, before the catalogue has been looked at. Hub.mu is held.
func (h *Hub) define(tx *change.Transaction) {
	h.told.Lock()
	defer h.told.Unlock()
	if n := len(h.defines); n > 0 && h.defines[n-1].xid == tx.XID {
		return
	}
	n := h.defined.Load() + 1
	h.defines = append(h.defines, define{n, tx.XID, tx.Commit})
	h.defined.Store(n)
	h.recheck()
}

// before returns the position before the first change of definitions that is not
// among the first n.
func (h *Hub) before(n uint64) revision.LSN {
	h.told.Lock()
	defer h.told.Unlock()
	for _, d := range h.defines {
		if d.number > n {
			return d.before
		}
	}
	return ^revision.LSN(0)
}

// recheck has the definitions looked at.
func (h *Hub) recheck() {
	select {
	case h.check <- struct{}{}:
	default:
	}
}

// Recheck has the definitions looked at: something changed that the log does not
// tell of.
func (h *Hub) Recheck() { h.recheck() }

func (h *Hub) checkLoop(ctx context.Context) {
	tick := time.NewTicker(h.opts.PollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-h.check:
		}
		for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
			if h.session.Load() == 0 {
				break
			}
			err := h.lookAgain(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			h.note.Warn("the definitions of followed tables cannot be looked at; trying again", "err", err)
			_ = pause(ctx, wait) // the loop's condition sees the end
		}
	}
}

// lookAgain looks at all tables of which something is known, ends the shapes that
// are not what they were, and lets the others go on.
func (h *Hub) lookAgain(ctx context.Context) error {
	h.checking.Lock()
	defer h.checking.Unlock()
	h.names.mu.Lock()
	oids := make([]uint32, 0, len(h.names.tables))
	for oid := range h.names.tables {
		oids = append(oids, uint32(oid))
	}
	h.names.mu.Unlock()
	l, defined, err := h.lookAt(ctx, oids, "", "")
	if err != nil {
		return err
	}
	h.adoptWorld(l.world)
	for _, oid := range oids {
		h.names.mu.Lock()
		t := h.names.tables[catalog.OID(oid)]
		h.names.mu.Unlock()
		if t != nil {
			h.update(t, l.tables[catalog.OID(oid)], defined)
		}
	}
	h.told.Lock()
	before := len(h.defines)
	h.defines = slices.DeleteFunc(h.defines, func(d define) bool { return d.number <= defined })
	held := len(h.defines) < before
	h.told.Unlock()
	if !held {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.shapes {
		s.rouse()
	}
	return nil
}

// lookAt looks at tables in a snapshot that holds every change of definitions that
// the log has brought, and returns how many these are.
func (h *Hub) lookAt(ctx context.Context, oids []uint32, schema, name string) (*looked, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, h.opts.WaitTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		h.told.Lock()
		defined := h.defined.Load()
		var xids []revision.XID
		for _, d := range h.defines {
			xids = append(xids, d.xid)
		}
		h.told.Unlock()
		l, err := h.look(ctx, oids, schema, name)
		if err != nil {
			return nil, 0, err
		}
		if !slices.ContainsFunc(xids, func(x revision.XID) bool { return !l.snapshot.Contains(x) }) {
			return l, defined, nil
		}
		if err := pause(ctx, wait); err != nil {
			return nil, 0, unavailable("a change of definitions is not visible yet: %w", err)
		}
	}
}

// looks are looks at the catalogue that several share: one after the other, each for
// all who asked while the one before was under way.
type looks struct {
	mu   sync.Mutex
	next *sharedLook // that has not begun
	busy bool
}

type sharedLook struct {
	oids   []uint32
	done   chan struct{}
	looked *looked
	err    error
}

// lookTogether looks at a table, in a snapshot that is taken after the call.
func (h *Hub) lookTogether(ctx context.Context, oid catalog.OID) (*looked, error) {
	if h.ctx.Err() != nil {
		return nil, unavailable("shutting down")
	}
	h.looks.mu.Lock()
	if h.looks.next == nil {
		h.looks.next = &sharedLook{done: make(chan struct{})}
	}
	mine := h.looks.next
	if !slices.Contains(mine.oids, uint32(oid)) {
		mine.oids = append(mine.oids, uint32(oid))
	}
	if !h.looks.busy {
		h.looks.busy = true
		h.work.Go(h.lookForAll)
	}
	h.looks.mu.Unlock()
	select {
	case <-mine.done:
		return mine.looked, mine.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *Hub) lookForAll() {
	for {
		h.looks.mu.Lock()
		l := h.looks.next
		h.looks.next, h.looks.busy = nil, l != nil
		h.looks.mu.Unlock()
		if l == nil {
			return
		}
		l.looked, l.err = h.look(h.ctx, l.oids, "", "")
		close(l.done)
	}
}

// adoptWorld takes what was seen of functions and operators, and keeps the old
// where nothing changed. checking is held.
func (h *Hub) adoptWorld(w *world) {
	if old := h.world.Load(); old == nil || old.all != w.all || old.operators != w.operators {
		h.world.Store(w)
	}
}

// update takes what was seen of a table, nil if it is gone, and ends the shapes
// that it does not fit. checking is held.
func (h *Hub) update(t *table, i *info, defined uint64) {
	old := t.info.Load()
	w := h.world.Load()
	if old != nil && i != nil && old.equal(i) {
		i = old
	}
	if i != old {
		t.info.Store(i)
	}
	h.mu.Lock()
	var shapes []*Shape
	for _, s := range h.shapes {
		if s.def.table == t {
			shapes = append(shapes, s)
		}
	}
	h.mu.Unlock()
	for _, s := range shapes {
		if i != nil && (s.checked == checked{i, w} || s.def.mark.fits(s.def.markIn(i, w))) {
			s.checked = checked{i, w}
			continue
		}
		_ = h.end(s, errRedefined.Error()) // its followers ask for the reason
	}
	if i == nil {
		h.names.mu.Lock()
		if h.names.tables[t.oid] == t {
			delete(h.names.tables, t.oid)
		}
		h.names.mu.Unlock()
	}
	if t.seen.Load() < defined {
		t.seen.Store(defined)
	}
}

// checked is what a shape was last held to. Hub.checking guards it.
type checked struct {
	info  *info
	world *world
}

// tableNamed returns the table of a name as of every change of definitions that the
// log has brought.
func (h *Hub) tableNamed(ctx context.Context, schema, name string) (*table, error) {
	key := [2]string{schema, name}
	if t := h.tableKnown(key); t != nil {
		return t, nil
	}
	h.checking.Lock()
	defer h.checking.Unlock()
	if t := h.tableKnown(key); t != nil {
		return t, nil
	}
	l, defined, err := h.lookAt(ctx, nil, schema, name)
	if err != nil {
		return nil, err
	}
	h.adoptWorld(l.world)
	for oid, i := range l.tables {
		h.names.mu.Lock()
		t := h.names.tables[oid]
		if t == nil {
			t = &table{oid: oid}
			t.info.Store(i)
			t.seen.Store(defined)
			h.names.tables[oid] = t
		}
		h.names.byName[key] = named{t, defined}
		h.names.mu.Unlock()
		h.update(t, i, defined)
		return t, nil
	}
	return nil, request("table", "", "table %s.%s does not exist", schema, name)
}

func (h *Hub) tableKnown(name [2]string) *table {
	h.names.mu.Lock()
	n, ok := h.names.byName[name]
	h.names.mu.Unlock()
	if defined := h.defined.Load(); ok && n.defined >= defined && n.table.seen.Load() >= defined {
		if i := n.table.info.Load(); i != nil && i.schema == name[0] && i.name == name[1] {
			return n.table
		}
	}
	return nil
}
