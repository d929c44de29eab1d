package keep

import (
	"encoding/binary"
	"slices"
	"sort"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// entry is one transaction in the index: where its last frame stands in the
// segment.
type entry struct {
	end revision.LSN
	xid revision.XID
	off int64
}

// list is the transactions of one table in one segment, in order, about six
// bytes each: differences from one to the next, with a whole entry every
// markEvery. It only grows, so a copy of it can be read while it does.
type list struct {
	n     int
	buf   []byte
	marks []mark
	last  entry
}

const markEvery = 64

type mark struct {
	entry
	pos int // of the next entry in buf
}

func (x *list) add(e entry) {
	if x.n > 0 && x.last.off == e.off {
		return
	}
	if x.n%markEvery == 0 {
		x.marks = append(x.marks, mark{e, len(x.buf)})
	} else {
		x.buf = binary.AppendUvarint(x.buf, uint64(e.end-x.last.end))
		x.buf = binary.AppendVarint(x.buf, int64(e.xid-x.last.xid))
		x.buf = binary.AppendUvarint(x.buf, uint64(e.off-x.last.off))
	}
	x.n++
	x.last = e
}

// clip gives back what the list does not need once it is complete.
func (x *list) clip() {
	x.buf, x.marks = slices.Clip(x.buf), slices.Clip(x.marks)
}

// cursor walks over a copy of a list. It stands at entry, unless done.
type cursor struct {
	entry
	list list
	i    int
	pos  int
	done bool
}

// after returns a cursor at the first transaction that ends after lsn.
func (x *list) after(lsn revision.LSN) cursor {
	c := cursor{list: *x}
	m := sort.Search(len(x.marks), func(i int) bool { return x.marks[i].end > lsn })
	if m > 0 {
		m--
	}
	c.i = m * markEvery
	if c.done = c.i >= x.n; c.done {
		return c
	}
	c.entry, c.pos = x.marks[m].entry, x.marks[m].pos
	for !c.done && c.end <= lsn {
		c.next()
	}
	return c
}

func (c *cursor) next() {
	c.i++
	switch {
	case c.i >= c.list.n:
		c.done = true
	case c.i%markEvery == 0:
		m := c.list.marks[c.i/markEvery]
		c.entry, c.pos = m.entry, m.pos
	default:
		end, n := binary.Uvarint(c.list.buf[c.pos:])
		xid, k := binary.Varint(c.list.buf[c.pos+n:])
		off, m := binary.Uvarint(c.list.buf[c.pos+n+k:])
		c.pos += n + k + m
		c.end += revision.LSN(end)
		c.xid += revision.XID(xid)
		c.off += int64(off)
	}
}

// merge walks over several lists of one segment at once.
type merge []cursor

// next returns the next transaction of any of the lists, once.
func (m merge) next() (entry, bool) {
	best := -1
	for i := range m {
		if !m[i].done && (best < 0 || m[i].off < m[best].off) {
			best = i
		}
	}
	if best < 0 {
		return entry{}, false
	}
	e := m[best].entry
	for i := range m {
		if !m[i].done && m[i].off == e.off {
			m[i].next()
		}
	}
	return e, true
}
