package keep

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// appender is the transaction that is being appended, and memory for the next.
type appender struct {
	l      *Log
	seg    *segment // nil until something is wanted
	at     int64    // where the next byte goes
	body   []byte   // room for the head of a frame, then encoded changes
	joined []byte   // what is written at once and is not in one place
	rels   []byte   // frames of descriptions that come first

	index uint64 // of the next change
	first uint64 // index at which body begins
	place uint64 // the index that the next encoded change has if it skips none

	ids     map[*catalog.Relation]uint64 // by the feed's pointers, in idsOf
	idsOf   *segment
	added   []*catalog.Relation // to seg, by this transaction
	touched []uint64            // ids
	stamps  []uint64            // by id: the last transaction that touched it
	stamp   uint64

	start  int64 // of the first piece, or 0
	pieces []piece

	last   *catalog.Relation // of the previous change
	lastID uint64
	want   bool
	wanted func(*catalog.Relation) bool
}

// room is for the head of a frame before its changes, so that both are written
// from one place.
const room = 192

var errTooLarge = errors.New("larger than the whole log may be")

// Append adds what is wanted of a transaction: inserts, updates, deletes,
// truncations and definitions of relations for which wanted is true, and definitions
// without a relation. When it returns nil, the bytes are written; otherwise
// nothing of the transaction is there, and it or Restart has to come next.
// A transaction that ends at or before End is ignored.
func (l *Log) Append(tx *change.Transaction, wanted func(*catalog.Relation) bool) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if skip, err := l.admit(tx.End); skip || err != nil {
		return err
	}
	a := &l.a
	a.reset(l, wanted)
	var err error
	if tx.Spilled != nil {
		err = tx.Spilled(a.add)
	} else {
		for i := range tx.Changes {
			if err = a.add(&tx.Changes[i]); err != nil {
				break
			}
		}
	}
	if err == nil {
		err = a.finish(tx)
	}
	switch {
	case err == nil:
	case errors.Is(err, errTooLarge):
		a.undo()
		l.o.Logger.Warn("a transaction is larger than the kept log may be; the log begins anew after it",
			"dir", l.o.Dir, "transaction", tx.XID, "end", tx.End, "max_bytes", l.o.MaxBytes)
		return l.restart(l.source, tx.End)
	default:
		a.undo()
		err = l.fail("append", err)
		l.stop(tx.End, err)
		return err
	}
	a.release()
	return nil
}

// admit reports whether a transaction is in the log already, or cannot be
// added to it.
func (l *Log) admit(end revision.LSN) (skip bool, err error) {
	l.mu.RLock()
	damaged := l.damaged
	switch {
	case l.closed:
		err = ErrClosed
	case len(l.segments) == 0 && l.failure == nil:
		err = errors.New("kept log: nothing says where it begins; Continue comes first")
	case l.failure != nil && (l.failed != end || len(l.segments) == 0 || errors.Is(l.failure, errSync)):
		err = fmt.Errorf("%w: %w", ErrStopped, l.failure)
	default:
		skip = end <= l.end
	}
	l.mu.RUnlock()
	if damaged && !skip && err == nil {
		err = l.repair()
	}
	return skip, err
}

func (a *appender) reset(l *Log, wanted func(*catalog.Relation) bool) {
	if cap(a.body) < room {
		a.body = make([]byte, room, 64<<10)
	}
	a.l, a.wanted, a.seg = l, wanted, nil
	a.body, a.rels = a.body[:room], a.rels[:0]
	a.index, a.first, a.place, a.start = 0, 0, 0, 0
	a.added, a.touched, a.pieces = a.added[:0], a.touched[:0], nil
	a.last, a.want = nil, false
	a.stamp++
}

// release gives back memory that only a large transaction needed.
func (a *appender) release() {
	if cap(a.body) > 16*pieceBytes {
		a.body = nil
	}
	if cap(a.joined) > 16*pieceBytes {
		a.joined = nil
	}
	if cap(a.rels) > 16*pieceBytes {
		a.rels = nil
	}
	a.wanted, a.last = nil, nil
}

// add takes the next change of the transaction.
func (a *appender) add(c *change.Change) error {
	at := a.index
	if counts(c) {
		a.index++
	}
	if c.Relation == nil && c.Op != change.Define {
		return nil
	}
	if c.Relation != a.last || c.Relation == nil {
		a.last, a.want = c.Relation, c.Relation == nil || a.wanted(c.Relation)
		if a.want {
			if err := a.relation(c.Relation); err != nil {
				return err
			}
		}
	}
	if !a.want {
		return nil
	}
	if len(a.body) == room {
		a.first, a.place = at, at
	}
	a.body = appendChange(a.body, c, a.lastID, at-a.place)
	a.place = a.index
	if len(a.body) >= pieceBytes {
		return a.piece()
	}
	return nil
}

// relation finds the id of a relation in the segment, or gives it one, and
// notes that the transaction touches it.
func (a *appender) relation(rel *catalog.Relation) error {
	if a.seg == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	id, ok := uint64(0), rel == nil
	if !ok {
		id, ok = a.ids[rel]
	}
	if !ok {
		same := a.l.known.hold(rel)
		if id, ok = a.seg.ids[same]; ok {
			a.l.known.drop(same)
		} else {
			id = uint64(len(a.seg.relations) + len(a.added))
			a.seg.ids[same] = id
			a.added = append(a.added, same)
			start := len(a.rels)
			a.rels = append(a.rels, make([]byte, frameHead)...)
			a.rels[start+8] = kindRelation
			a.rels = appendRelation(a.rels, id, same)
			seal(a.rels[start:], a.seg.secret, a.at+int64(start))
		}
		a.ids[rel] = id
	}
	for uint64(len(a.stamps)) <= id {
		a.stamps = append(a.stamps, 0)
	}
	if a.stamps[id] != a.stamp {
		a.stamps[id] = a.stamp
		a.touched = append(a.touched, id)
	}
	a.lastID = id
	return nil
}

// open chooses the segment for the transaction, a new one if the last is full.
func (a *appender) open() error {
	l := a.l
	seg := l.segments[len(l.segments)-1]
	if seg.size >= l.o.SegmentBytes && seg.recorded > seg.begin {
		var err error
		if seg, err = l.roll(false); err != nil {
			return err
		}
	}
	if a.idsOf != seg {
		a.ids, a.idsOf = map[*catalog.Relation]uint64{}, seg
	}
	seg.index()
	a.seg, a.at = seg, seg.size
	return nil
}

// piece writes what is gathered of a transaction that is not complete.
func (a *appender) piece() error {
	off := a.at + int64(len(a.rels))
	if a.start == 0 {
		a.start = off
	}
	a.pieces = append(a.pieces, piece{a.first, off})
	return a.write(kindPiece, binary.AppendUvarint(nil, a.first))
}

// write writes a frame of which head comes before the changes, after the
// descriptions that it needs.
func (a *appender) write(kind byte, head []byte) error {
	var frame []byte
	if n := frameHead + len(head); n <= room {
		frame = a.body[room-n:]
		copy(frame[frameHead:], head)
	} else {
		a.joined = append(a.joined[:0], make([]byte, frameHead)...)
		a.joined = append(append(a.joined, head...), a.body[room:]...)
		frame = a.joined
	}
	if len(frame)-frameHead > maxBody || a.at+int64(len(a.rels)+len(frame)) > a.l.o.MaxBytes {
		return errTooLarge
	}
	frame[8] = kind
	seal(frame, a.seg.secret, a.at+int64(len(a.rels)))
	out := frame
	if len(a.rels) > 0 {
		a.rels = append(a.rels, frame...)
		out = a.rels
	}
	a.l.trim(a.at + int64(len(out)) - a.seg.size)
	if err := a.l.writeAt(a.seg.f, out, a.at); err != nil {
		return err
	}
	a.at += int64(len(out))
	a.body, a.rels = a.body[:room], a.rels[:0]
	return nil
}

// finish writes the end of the transaction and shows it to readers.
func (a *appender) finish(tx *change.Transaction) error {
	l := a.l
	if a.seg == nil {
		l.mu.Lock()
		l.end = max(l.end, tx.End)
		l.failed, l.failure = 0, nil
		l.mu.Unlock()
		return nil
	}
	if len(a.body) == room {
		a.first = a.index
	}
	off := a.at + int64(len(a.rels))
	e := ending{
		xid: tx.XID, end: tx.End, commit: tx.Commit, micros: tx.Time.UnixMicro(), relations: a.touched,
	}
	if a.start != 0 {
		e.back = off - a.start
	}
	var small [room]byte
	head := e.append(small[:0])
	head = binary.AppendUvarint(head, a.first)
	if err := a.write(kindEnd, head); err != nil {
		return err
	}
	seg := a.seg
	l.mu.Lock()
	l.total += a.at - seg.size
	seg.size, seg.dirty = a.at, true
	seg.relations = append(seg.relations, a.added...)
	seg.enter(entry{tx.End, tx.XID, off}, a.touched)
	if a.pieces != nil {
		seg.long[off] = append(a.pieces, piece{a.first, off})
	}
	seg.recorded, l.recorded = tx.End, tx.End
	l.end = max(l.end, tx.End)
	l.failed, l.failure = 0, nil
	l.mu.Unlock()
	return nil
}

// undo forgets what was written and noted of the transaction.
func (a *appender) undo() {
	if a.seg != nil {
		// If this fails, too, the next write overwrites it, and Open does not
		// take it for part of the log.
		_ = a.seg.f.Truncate(a.seg.size)
		for _, rel := range a.added {
			delete(a.seg.ids, rel)
			a.l.known.drop(rel)
		}
	}
	a.ids, a.idsOf = nil, nil
	a.added = a.added[:0]
	a.release()
}

// writeAt writes all of b.
func (l *Log) writeAt(f *os.File, b []byte, off int64) error {
	_, err := l.write(f, b, off)
	return err
}
