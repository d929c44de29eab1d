package table

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// maxMaking bounds the handles that are made at a time, each with a file. Most of
// the time they wait: for the log, and for the disk.
const maxMaking = 64

// making is a handle that is being made, for all who wait for it.
type making struct {
	done  chan struct{}
	shape *Shape
	err   error
}

// renew returns a new handle of a definition, made once for all who ask meanwhile.
// It goes on when they leave: they come back.
func (h *Hub) renew(ctx context.Context, def *definition) (*Shape, error) {
	h.mu.Lock()
	m := h.makes[def.hash]
	if m == nil {
		if err := h.ctx.Err(); err != nil {
			h.mu.Unlock()
			return nil, unavailable("shutting down")
		}
		m = &making{done: make(chan struct{})}
		h.makes[def.hash] = m
		h.work.Go(func() {
			m.shape, m.err = h.create(h.ctx, def)
			h.mu.Lock()
			delete(h.makes, def.hash)
			h.mu.Unlock()
			close(m.done)
		})
	}
	h.mu.Unlock()
	select {
	case <-m.done:
		return m.shape, m.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errAgain: the snapshot cannot be joined to the log, and another may.
var errAgain = errors.New("the snapshot cannot be joined to the log")

// create makes a handle.
func (h *Hub) create(ctx context.Context, def *definition) (*Shape, error) {
	select {
	case h.making <- struct{}{}:
		defer func() { <-h.making }()
	case <-ctx.Done():
		return nil, unavailable("shutting down")
	}
	waiting := time.Now()
	for wait := time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		began := time.Now()
		s, err := h.attempt(ctx, def)
		if err == nil {
			h.created.Add(1)
			return s, nil
		}
		if !errors.Is(err, errAgain) {
			return nil, err
		}
		// What was spent on reading is not waiting.
		waiting = waiting.Add(max(0, time.Since(began)-time.Second))
		if time.Since(waiting) > h.opts.WaitTimeout {
			return nil, unavailable("%w", err)
		}
		if err := pause(ctx, wait); err != nil {
			return nil, unavailable("shutting down")
		}
	}
}

func again(format string, args ...any) error {
	return fmt.Errorf("%w: %w", errAgain, fmt.Errorf(format, args...))
}

// attempt takes a snapshot and joins it to the log, in the order that the seam
// asks for.
func (h *Hub) attempt(ctx context.Context, def *definition) (*Shape, error) {
	session, frontier := h.session.Load(), h.host.Frontier()
	if session == 0 {
		return nil, unavailable("the log is not being followed yet")
	}
	// What ends up to low is inside the snapshot, since that comes later.
	settle, cancel := context.WithTimeout(ctx, h.opts.WaitTimeout)
	low, err := h.low(settle)
	cancel()
	if err != nil {
		return nil, err
	}
	w, err := createFile(h.folder())
	if err != nil {
		return nil, err
	}
	done := false
	defer func() {
		if !done {
			w.discard()
		}
	}()
	snap := &snapshot{Source: frontier.Source, Mark: def.mark}
	after, err := h.read(ctx, def, snap, w)
	if err != nil {
		return nil, h.blame(ctx, def, err)
	}
	// Neither the definition nor, since that shows in it, the file of the table is
	// another than before the snapshot: nothing was truncated under it.
	if err := h.unchanged(ctx, def); err != nil {
		return nil, err
	}
	if err := h.reach(ctx, after); err != nil {
		return nil, err
	}
	if h.session.Load() != session || h.host.Frontier() != frontier {
		return nil, again("the log was connected anew") // and the server may have crashed
	}
	if h.log.End() < after {
		return nil, unavailable("the kept log is not being written")
	}
	snap.First, err = h.firstLacking(&snap.Snapshot, def.tables, low, snap.Upper)
	switch {
	case errors.Is(err, keep.ErrTrimmed):
		return nil, again("%w", err)
	case err != nil:
		return nil, unavailable("%w", err)
	}
	handle := h.newHandle(def.hash)
	if err := w.finish(snap, h.path(handle)); err != nil {
		return nil, err
	}
	done = true
	s := &Shape{hub: h, handle: handle, def: def, snapshot: snap}
	if !h.register(s, session) {
		_ = h.end(s, errSession.Error())
		return nil, again("the log was connected anew")
	}
	h.note.Debug("a shape was made", "handle", handle, "table", def.info.schema+"."+def.info.name, "where", def.Where,
		"bytes", snap.inUse, "position", snap.Upper.String())
	return s, nil
}

// unchanged fails unless the table is what it was when the definition was resolved.
func (h *Hub) unchanged(ctx context.Context, def *definition) error {
	l, err := h.lookTogether(ctx, def.info.oid)
	if err != nil {
		return err
	}
	i := l.tables[def.info.oid]
	if i == nil || !def.info.equal(i) || !def.decided && (l.world.all != def.world.all || l.world.operators != def.world.operators) {
		h.recheck()
		return errOutdated
	}
	return nil
}

// holds fails if a definition does not mean what it did, in anything that shows in
// its shape. What Postgres said of rows of the log before was then perhaps about
// other columns, or another function.
func (h *Hub) holds(ctx context.Context, def *definition) error {
	l, err := h.lookTogether(ctx, def.info.oid)
	if err != nil {
		return err
	}
	if i := l.tables[def.info.oid]; i == nil || !def.mark.fits(def.markIn(i, l.world)) {
		h.recheck()
		return errRedefined
	}
	return nil
}

// blame returns the error of a request, or that the definition has changed since it
// was read: then the refusal, by Postgres or by what is known of the table, may be no
// fault of the request.
func (h *Hub) blame(ctx context.Context, def *definition, err error) error {
	var re *live.RequestError
	if errors.As(err, &re) {
		if changed := h.unchanged(ctx, def); changed != nil {
			return changed
		}
	}
	return err
}

// newHandle returns a handle that there has not been. Handles of one definition
// are ordered by when they began.
func (h *Hub) newHandle(hash string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := max(uint64(time.Now().UnixMicro()), h.lastHandle+1)
	if list := h.handles[hash]; len(list) > 0 {
		_, last := splitHandle(list[len(list)-1])
		if n, err := strconv.ParseUint(last, 10, 64); err == nil {
			now = max(now, n+1)
		}
	}
	h.lastHandle = now
	return hash + "-" + strconv.FormatUint(now, 10)
}

// read writes the rows of a snapshot to a file. It returns a position behind
// everything that was read.
func (h *Hub) read(ctx context.Context, def *definition, s *snapshot, w *fileWriter) (after revision.LSN, err error) {
	select {
	case h.copying <- struct{}{}:
		defer func() { <-h.copying }()
	case <-ctx.Done():
		return 0, unavailable("shutting down")
	}
	err = h.transaction(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		if err := readSnapshot(ctx, conn, &s.Snapshot, &s.Upper); err != nil {
			return err
		}
		if h.lacks(&s.Snapshot, def.tables) {
			return again("a transaction that the log brought before is not visible yet")
		}
		if !def.ChangesOnly {
			err := h.readRows(ctx, conn, def, nil, func(row change.Row) error {
				if len(w.chunk) >= h.opts.ChunkBytes {
					if err := w.end(); err != nil {
						return err
					}
				}
				var err error
				w.chunk, err = def.encoding.encoder.AppendSnapshot(w.chunk, nil, row, 0)
				return err
			})
			if err != nil {
				return err
			}
			w.chunk = live.AppendSnapshotEnd(w.chunk, &s.Snapshot)
		}
		if err := w.end(); err != nil {
			return err
		}
		var text string
		err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_wal_insert_lsn()::text").Scan(&text)
		if err == nil {
			after, err = revision.ParseLSN(text)
		}
		return err
	})
	return after, err
}

// readSnapshot reads the snapshot of a transaction, and then a position behind all
// that it holds.
func readSnapshot(ctx context.Context, conn *pgx.Conn, s *revision.Snapshot, upper *revision.LSN) error {
	var snap, insert string
	err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.pg_current_wal_insert_lsn()::text").Scan(&snap, &insert)
	if err != nil {
		return err
	}
	if *s, err = revision.ParseSnapshot(snap); err != nil {
		return err
	}
	*upper, err = revision.ParseLSN(insert)
	return err
}

// selection is what a subset adds to a statement.
type selection struct {
	where  string
	args   [][]byte
	types  []uint32
	suffix string
}

// readRows calls yield with the rows of a definition, in memory that is used again.
func (h *Hub) readRows(ctx context.Context, conn *pgx.Conn, def *definition, more *selection, yield func(change.Row) error) error {
	var b strings.Builder
	b.WriteString("SELECT ")
	for i, name := range def.encoding.columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(pgx.Identifier{def.info.name, name}.Sanitize())
	}
	where, args, types := def.rows.SQL()
	b.WriteString(" FROM " + def.rows.From() + " WHERE " + where)
	if more != nil {
		if more.where != "" {
			// Only rows of the shape come to the client's own condition, which could
			// tell of others by failing.
			b.WriteString(" AND CASE WHEN " + where + " THEN (" + more.where + ") ELSE false END")
		}
		b.WriteString(more.suffix)
		args, types = append(args[:len(args):len(args)], more.args...), append(types[:len(types):len(types)], more.types...)
	}
	result := conn.PgConn().ExecParams(ctx, b.String(), args, types, nil, nil)
	row := make(change.Row, len(def.encoding.columns))
	var failed error
	for failed == nil && result.NextRow() {
		for i, v := range result.Values() {
			row[i] = change.Value{Kind: change.Text, Text: v}
			if v == nil {
				row[i] = change.Value{Kind: change.Null}
			}
		}
		failed = yield(row)
	}
	if failed != nil {
		// The rest would be read to the end otherwise.
		cancelled, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(cancelled)
		_, _ = result.Close()
		return failed
	}
	_, err := result.Close()
	if message, refused := query.Refusal(err); refused {
		field := "where"
		if more != nil && more.where != "" {
			field = "subset__where"
		}
		return &live.RequestError{Field: field, Message: message}
	}
	return err
}
