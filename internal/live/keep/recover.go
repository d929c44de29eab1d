package keep

import (
	"bufio"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live/record"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// recover reads what is in the directory and keeps the longest row of segments
// that join, the newest that can be relied on.
func (l *Log) recover() error {
	paths, err := l.list()
	if err != nil {
		return err
	}
	var found []*segment
	closeAll := func() {
		for _, s := range found {
			s.f.Close()
		}
	}
	for _, p := range paths {
		s, err := l.scan(p)
		if err != nil {
			closeAll()
			return err
		}
		if s == nil {
			l.o.Logger.Warn("a file of the kept log is damaged, or of another version, and goes", "file", p)
			if err := os.Remove(p); err != nil {
				closeAll()
				return err
			}
			continue
		}
		found = append(found, s)
	}
	kept, dropped := join(found)
	if len(dropped) > 0 {
		l.o.Logger.Warn("parts of the kept log do not join and go", "dir", l.o.Dir, "files", len(dropped))
	}
	for _, s := range dropped {
		l.discard(s)
	}
	l.segments = kept
	if len(kept) == 0 {
		return nil
	}
	for _, s := range kept {
		l.total += s.size
		l.synced = max(l.synced, s.synced)
		if err := l.cut(s); err != nil {
			return err
		}
	}
	last := kept[len(kept)-1]
	l.source, l.begin, l.end, l.recorded = last.source, kept[0].begin, last.recorded, last.recorded
	l.newFiles = true
	return nil
}

// list returns the files of the log in order and sets the number of the next.
func (l *Log) list() ([]string, error) {
	files, err := os.ReadDir(l.o.Dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range files { // in the order of their names, which is that of their numbers
		name, ok := strings.CutSuffix(f.Name(), suffix)
		number, err := strconv.ParseUint(name, 16, 64)
		if !ok || err != nil || len(name) != 16 {
			continue
		}
		l.next = number + 1
		paths = append(paths, filepath.Join(l.o.Dir, f.Name()))
	}
	return paths, nil
}

// join decides which of the segments, in order, are the log. Where two do not
// join, one side has to go. If what is missing had been durable, it is damage, and
// the newer side is worth more: its end is what was promised. If it had not,
// a loss of power took it, and the older side is what the server goes on from.
func join(found []*segment) (kept, dropped []*segment) {
	for i, s := range found {
		if len(kept) == 0 {
			kept = append(kept, s)
			continue
		}
		last := kept[len(kept)-1]
		if !s.fresh && s.beforeSecret == last.secret && s.before == last.recorded {
			kept = append(kept, s)
			continue
		}
		var synced revision.LSN
		for _, n := range found[i:] {
			synced = max(synced, n.synced)
		}
		fresh := slices.ContainsFunc(found[i:], func(n *segment) bool { return n.fresh })
		if !fresh && last.recorded >= synced && last.recorded > s.floor {
			// The newest first: what a crash in between leaves is decided the same.
			newer := slices.Clone(found[i:])
			slices.Reverse(newer)
			return kept, append(dropped, newer...)
		}
		dropped = append(dropped, kept...)
		kept = []*segment{s}
	}
	return kept, dropped
}

// cut removes what stands after the last whole transaction of a segment.
func (l *Log) cut(s *segment) error {
	info, err := s.f.Stat()
	if err != nil || info.Size() == s.size {
		return err
	}
	l.o.Logger.Info("the kept log is cut off after its last whole transaction",
		"file", s.path, "end", s.recorded, "bytes", info.Size()-s.size)
	if err := s.f.Truncate(s.size); err != nil {
		return err
	}
	return s.f.Sync()
}

// scan reads a segment up to its last whole transaction. It returns nil if
// the file is not a segment.
func (l *Log) scan(path string) (*segment, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	var head [headerBytes]byte
	if _, err := f.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return nil, err
	}
	h, ok := decodeHeader(head[:])
	if !ok || filepath.Base(path) != h.name() {
		f.Close()
		return nil, nil
	}
	s := newSegment(f, path, h)
	sc := scanner{
		l: l, s: s, off: headerBytes, size: info.Size(),
		r: bufio.NewReaderSize(io.NewSectionReader(f, headerBytes, info.Size()-headerBytes), scanBytes),
	}
	for sc.frame() {
	}
	for _, x := range s.lists {
		x.clip()
	}
	return s, nil
}

const scanBytes = 256 << 10

// scanner reads the frames of a segment.
type scanner struct {
	l    *Log
	s    *segment
	r    *bufio.Reader
	off  int64
	size int64
	buf  []byte

	// Of a transaction whose end has not come yet.
	relations []*catalog.Relation
	pieces    []piece
	ending    ending
}

// frame takes the next frame and reports whether it was one.
func (sc *scanner) frame() bool {
	sc.buf = append(sc.buf[:0], make([]byte, frameHead)...)
	if _, err := io.ReadFull(sc.r, sc.buf); err != nil {
		return false
	}
	n, kind := int64(order.Uint32(sc.buf)), sc.buf[8]
	if n > maxBody || n > sc.size-sc.off-frameHead || n > maxSmall && kind != kindPiece {
		return false
	}
	// Of a large piece only the beginning is looked at.
	whole := min(n, maxSmall)
	sc.buf = slices.Grow(sc.buf, int(whole))[:frameHead+whole]
	if _, err := io.ReadFull(sc.r, sc.buf[frameHead:]); err != nil {
		return false
	}
	sum := checksum(sc.buf, sc.s.secret, sc.off)
	for left := n - whole; left > 0; {
		p, err := sc.r.Peek(int(min(left, scanBytes)))
		if err != nil {
			return false
		}
		sum = crc32.Update(sum, castagnoli, p)
		sc.r.Discard(len(p))
		left -= int64(len(p))
	}
	if sum != order.Uint32(sc.buf[4:]) || !sc.take(kind, sc.buf[frameHead:]) {
		return false
	}
	sc.off += frameHead + n
	if kind == kindEnd || kind == kindCover {
		sc.s.size = sc.off
	}
	return true
}

func (sc *scanner) take(kind byte, body []byte) bool {
	s := sc.s
	switch kind {
	case kindRelation:
		id, rel, ok := decodeRelation(body)
		if !ok || id != uint64(len(s.relations)+len(sc.relations)) {
			return false
		}
		sc.relations = append(sc.relations, rel)
		return true
	case kindPiece:
		r := record.Reader{Rest: body}
		sc.pieces = append(sc.pieces, piece{r.Uvarint(), sc.off})
		return !r.Bad
	case kindEnd:
		return sc.end(body)
	case kindCover:
		r := record.Reader{Rest: body}
		lsn, synced := revision.LSN(r.Uint64()), revision.LSN(r.Uint64())
		if r.Bad || lsn <= s.recorded || len(sc.relations)+len(sc.pieces) > 0 {
			return false
		}
		s.recorded, s.synced = lsn, max(s.synced, synced)
		return true
	}
	return false
}

func (sc *scanner) end(body []byte) bool {
	s, e := sc.s, &sc.ending
	r := record.Reader{Rest: body}
	e.decode(&r)
	first := r.Uvarint()
	if r.Bad || e.end <= s.recorded {
		return false
	}
	back := int64(0)
	if len(sc.pieces) > 0 {
		back = sc.off - sc.pieces[0].off
	}
	known := uint64(len(s.relations) + len(sc.relations))
	if e.back != back || slices.ContainsFunc(e.relations, func(id uint64) bool { return id >= known }) {
		return false
	}
	for _, rel := range sc.relations {
		s.relations = append(s.relations, sc.l.known.hold(rel))
	}
	s.enter(entry{e.end, e.xid, sc.off}, e.relations)
	if len(sc.pieces) > 0 {
		s.long[sc.off] = append(sc.pieces, piece{first, sc.off})
	}
	sc.relations, sc.pieces = sc.relations[:0], nil
	return true
}
