package follow

import (
	"errors"
	"slices"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// append adds a difference to the log. f.mu is held.
func (f *followed) append(e *entry, steps []step, xid revision.XID, rows *table) {
	h := f.hub
	record := appendDifference(nil, e, steps, xid, f.last)
	if !f.file.broken {
		if err := f.file.append(record); err != nil {
			h.tally.Error("followers of an answer go on without a file; after a restart they will begin anew", err, "answer", f.key)
		} else {
			f.file.logged += int64(len(record))
		}
	}
	f.entries = append(f.entries, e)
	f.bytes += len(e.text)
	f.last, f.first = e.last(), 0
	f.appended = time.Now().UnixNano()
	f.trim(f.memoryBytes())
	h.differences.Add(1)
	h.messages.Add(int64(e.count))
	f.changed.Tell()
	f.changed = nil
	for i, name := range e.topics {
		if t := f.topics[name]; t != nil {
			t.last = e.offset(uint64(i))
			t.changed.Tell()
			t.changed = nil
		}
	}
	if f.file.broken || f.file.logged > 2*f.keepLog() {
		if err := f.rewrite(rows); err != nil {
			h.log.Debug("the file of a followed answer could not be written anew", "answer", f.key, "err", err)
		}
	}
}

// maxSnapshots bounds the snapshots in a file, and those of which there is more
// than the rows.
const maxSnapshots = 4

// whole returns how many snapshots are in the file. f.mu is held.
func (f *followed) whole() int {
	n := 0
	for i := range f.snapshots {
		if f.snapshots[i].size > 0 {
			n++
		}
	}
	return n
}

// keepLog is how many bytes of differences are kept at least. f.mu is held.
func (f *followed) keepLog() int64 {
	return max(f.hub.opts.LogBytes, min(int64(len(f.body)), maxKeepLog))
}

// maxKeepLog bounds what is kept because the answer is large: all of it may come
// back to memory.
const maxKeepLog = 4 << 20

// memoryBytes is how much of the log may be in memory now: more while one who is
// far behind catches up. f.mu is held.
func (f *followed) memoryBytes() int {
	if time.Now().UnixNano()-f.recalled < int64(10*time.Second) {
		return 2*int(f.keepLog()) + f.hub.opts.MemoryBytes
	}
	return f.hub.opts.MemoryBytes
}

// trim drops what is in memory beyond a bound, but for the last difference. f.mu
// is held.
func (f *followed) trim(most int) {
	n := 0
	for n < len(f.entries)-1 && f.bytes > most {
		f.bytes -= len(f.entries[n].text)
		n++
	}
	if n > 0 {
		f.memory = f.entries[n-1].last()
		f.entries = append([]*entry(nil), f.entries[n:]...)
	}
}

// recall brings the whole log that is kept into memory. f.mu is held.
func (f *followed) recall() error {
	var entries []*entry
	bytes, last := 0, f.begin
	err := f.file.differences(f.snapshots, func(r *differenceRecord, _ []byte) error {
		if r.prev != last {
			return errTorn
		}
		e, err := f.def.entryOf(r)
		if err != nil {
			return err
		}
		entries, bytes, last = append(entries, e), bytes+len(e.text), e.last()
		return nil
	})
	if err != nil || last != f.last {
		return errors.Join(err, errTorn)
	}
	f.entries, f.bytes, f.memory = entries, bytes, f.begin
	f.recalled = time.Now().UnixNano()
	return nil
}

// rewrite writes the file anew: the last part of the log, and the rows of now for
// those who come. f.mu is held.
func (f *followed) rewrite(rows *table) error {
	begin := f.begin
	var kept []byte
	if f.file.broken || f.file.size == 0 {
		begin = f.last // nothing before is durable
	} else {
		drop := f.file.logged - f.keepLog()
		if err := f.file.differences(f.snapshots, func(r *differenceRecord, record []byte) error {
			if drop > 0 {
				drop -= int64(len(record))
				begin = r.last()
			} else {
				kept = append(kept, record...)
			}
			return nil
		}); err != nil {
			begin, kept = f.last, nil
		}
	}
	head := header{source: f.source, incarnation: f.incarnation, print: f.def.print, key: f.key, begin: begin, next: f.next + 1}
	content := append(head.append(nil), kept...)
	s := snapshotRecord{number: f.next, after: f.last, chunk: uint64(f.hub.opts.ChunkBytes), rows: rows.pack()}
	at := int64(len(content))
	content = s.append(content)
	if err := f.file.replace(content); err != nil {
		return err
	}
	f.begin, f.file.logged = begin, int64(len(kept))
	if f.memory.Compare(begin) < 0 {
		// What is in memory goes further back than what is kept.
		n := 0
		for n < len(f.entries) && f.entries[n].last().Compare(begin) <= 0 {
			f.bytes -= len(f.entries[n].text)
			n++
		}
		f.entries, f.memory = append([]*entry(nil), f.entries[n:]...), begin
	}
	f.snapshots = slices.DeleteFunc(f.snapshots, func(s snapshot) bool { return s.after.Compare(begin) < 0 })
	f.snapshots = f.snapshots[max(0, len(f.snapshots)-maxSnapshots+1):]
	for i := range f.snapshots {
		f.snapshots[i] = f.snapshots[i].former()
	}
	f.snapshots = append(f.snapshots, snapshot{number: f.next, after: f.last, chunk: f.hub.opts.ChunkBytes, at: at, size: int64(len(content)) - at, logged: f.file.logged})
	f.next++
	return nil
}

// renew makes another snapshot for those who come. f.mu is held.
func (f *followed) renew() error {
	rows := f.rows
	if f.version != nil {
		var err error
		if rows, err = f.def.parse(f.body); err != nil {
			return err
		}
	}
	if f.file.broken || f.whole() >= maxSnapshots {
		return f.rewrite(rows)
	}
	s := snapshotRecord{number: f.next, after: f.last, chunk: uint64(f.hub.opts.ChunkBytes), rows: rows.pack()}
	record := s.append(nil)
	at := f.file.size
	if err := f.file.append(record); err != nil {
		return err
	}
	f.snapshots = append(f.snapshots, snapshot{number: f.next, after: f.last, chunk: f.hub.opts.ChunkBytes, at: at, size: int64(len(record)), logged: f.file.logged})
	f.next++
	return nil
}
