package keep

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live/disk"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// segment is one file of the log. All but the last are complete.
type segment struct {
	header
	f    *os.File
	path string

	// Under Log.mu.
	refs      int   // the log has one, each reader another; the file is closed after the last
	size      int64 // of what is complete
	recorded  revision.LSN
	dirty     bool
	damaged   bool
	relations []*catalog.Relation // by id; the first is nil
	lists     map[catalog.OID]*list
	long      map[int64][]piece // by the place of the end frame: transactions in pieces

	// Under Log.writing, for the last segment.
	ids map[*catalog.Relation]uint64
}

// piece is where changes from an index on stand.
type piece struct {
	first uint64
	off   int64
}

func newSegment(f *os.File, path string, h header) *segment {
	return &segment{
		header: h, f: f, path: path, refs: 1, size: headerBytes, recorded: h.begin, dirty: true,
		relations: []*catalog.Relation{nil}, lists: map[catalog.OID]*list{}, long: map[int64][]piece{},
	}
}

const suffix = ".keep"

func (h *header) name() string { return fmt.Sprintf("%016x%s", h.number, suffix) }

// roll makes a new segment the last one. The first of a log that begins anew is
// fresh.
func (l *Log) roll(fresh bool) (*segment, error) {
	l.mu.RLock()
	h := header{
		fresh: fresh, number: l.next, secret: rand.Uint64() | 1, source: l.source,
		begin: l.end, floor: l.begin, synced: l.synced,
	}
	var last *segment
	if n := len(l.segments); n > 0 {
		last = l.segments[n-1]
		h.before, h.beforeSecret = last.recorded, last.secret
	}
	l.mu.RUnlock()
	l.next++
	path := filepath.Join(l.o.Dir, h.name())
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := l.writeAt(f, h.encode(), 0); err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	s := newSegment(f, path, h)
	l.mu.Lock()
	defer l.mu.Unlock()
	if last != nil {
		last.ids = nil
		for _, x := range last.lists {
			x.clip()
		}
	}
	l.segments = append(l.segments, s)
	l.total += s.size
	l.recorded = h.begin
	l.newFiles = true
	return s, nil
}

// index makes ids if they are missing, as after Open.
func (s *segment) index() {
	if s.ids != nil {
		return
	}
	s.ids = make(map[*catalog.Relation]uint64, len(s.relations))
	for id, rel := range s.relations[1:] {
		s.ids[rel] = uint64(id) + 1
	}
}

// enter enters a transaction into the lists of the tables that it touches.
func (s *segment) enter(e entry, ids []uint64) {
	for _, id := range ids {
		var oid catalog.OID
		if id != 0 {
			oid = s.relations[id].OID
		}
		x := s.lists[oid]
		if x == nil {
			x = &list{}
			s.lists[oid] = x
		}
		x.add(e)
	}
	s.recorded = e.end
}

// trim drops the oldest segments until the log, with more bytes to come, is
// within its bound. The last segment stays.
func (l *Log) trim(more int64) {
	for len(l.segments) > 1 && l.total+more > l.o.MaxBytes {
		l.mu.Lock()
		s := l.shift()
		l.mu.Unlock()
		l.discard(s)
	}
}

// shift takes the oldest segment, which is not the only one, out of the log.
func (l *Log) shift() *segment {
	s := l.segments[0]
	// Readers may hold the old slice.
	l.segments = append([]*segment(nil), l.segments[1:]...)
	l.begin = l.segments[0].begin
	l.total -= s.size
	return s
}

// repair drops what is damaged and everything before it.
func (l *Log) repair() error {
	l.mu.RLock()
	n := 0
	for i, s := range l.segments {
		if s.damaged {
			n = i + 1
		}
	}
	all := n > 0 && n == len(l.segments)
	l.mu.RUnlock()
	if all {
		s, err := l.roll(false)
		if err == nil {
			// What was promised to be durable must not go before this is.
			err = errors.Join(s.f.Sync(), disk.Sync(l.o.Dir))
		}
		if err != nil {
			return l.fail("begin anew", err)
		}
	}
	for range n {
		l.mu.Lock()
		s := l.shift()
		l.mu.Unlock()
		l.discard(s)
	}
	l.mu.Lock()
	l.damaged = false
	for _, s := range l.segments {
		l.damaged = l.damaged || s.damaged
	}
	begin := l.begin
	l.mu.Unlock()
	l.o.Logger.Warn("a part of the kept log is damaged; it begins after that", "dir", l.o.Dir, "begin", begin)
	return nil
}

// discard removes a segment that is out of the log.
func (l *Log) discard(s *segment) {
	if err := os.Remove(s.path); err != nil {
		l.o.Logger.Warn("a part of the kept log could not be removed", "file", s.path, "error", err)
	}
	for _, rel := range s.relations[1:] {
		l.known.drop(rel)
	}
	l.release(s)
}

// release gives a segment back.
func (l *Log) release(s *segment) {
	l.mu.Lock()
	s.refs--
	last := s.refs == 0
	l.mu.Unlock()
	if last {
		s.f.Close()
	}
}
