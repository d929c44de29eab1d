package follow

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// shape is one handle of a followed answer. It implements live.Shape.
type shape struct {
	f      *followed
	handle string
	number uint64 // of its snapshot
	topic  string
}

// A handle names an answer, an incarnation of what is known of it, a snapshot,
// and, for one account's rows, the account: caches on the way may know nothing
// else of who asks.
func (f *followed) handle(number uint64, topic string) string {
	h := f.id + "-" + f.incarnation + "-" + strconv.FormatUint(number, 36)
	if topic != "" {
		sum := sha256.Sum256([]byte(f.incarnation + topic))
		h += "-" + hex.EncodeToString(sum[:8])
	}
	return h
}

func parseHandle(handle string) (id, incarnation string, number uint64, ok bool) {
	parts := strings.Split(handle, "-")
	if len(parts) < 3 || len(parts) > 4 || len(parts[0]) != 16 || len(parts[1]) != 8 {
		return "", "", 0, false
	}
	if _, err := hex.DecodeString(parts[0]); err != nil {
		return "", "", 0, false
	}
	number, err := strconv.ParseUint(parts[2], 36, 64)
	return parts[0], parts[1], number, err == nil
}

// errOther means that the endpoint is not the one whose answer is followed.
var errOther = errors.New("the endpoint has changed")

// open returns the shape of a handle, or of the newest. If d is another
// definition than that of what is followed, either may be the older one; sure says
// that it is not d. With errOver, another followed answer is to be looked for.
func (f *followed) open(d *Definition, handle, topic string, sure bool) (live.Shape, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.def != nil && f.def.print != d.print && f.gone == nil && !f.resting {
		if !sure {
			return nil, errOther
		}
		f.over(otherColumns)
	}
	if f.gone != nil || f.resting || f.def == nil {
		return nil, errOver
	}
	_, incarnation, number, ok := parseHandle(handle)
	if ok && incarnation == f.incarnation && number < f.next && handle == f.handle(number, topic) {
		return &shape{f, handle, number, topic}, nil
	}
	newest := f.newest()
	if newest == nil || f.file.broken || f.file.logged-newest.logged > max(f.hub.opts.LogBytes/4, 2*newest.size) {
		// What a newcomer would have to catch up with is more than the rows.
		if err := f.renew(); err != nil {
			return nil, fmt.Errorf("%w: %w", live.ErrUnavailable, err)
		}
		newest = f.newest()
	}
	return &shape{f, f.handle(newest.number, topic), newest.number, topic}, nil
}

// newest returns the snapshot for newcomers, or nil. f.mu is held.
func (f *followed) newest() *snapshot {
	n := len(f.snapshots)
	if n == 0 || f.snapshots[n-1].size == 0 {
		return nil
	}
	return &f.snapshots[n-1]
}

func (f *followed) snapshot(number uint64) *snapshot {
	for i := range f.snapshots {
		if f.snapshots[i].number == number {
			return &f.snapshots[i]
		}
	}
	return nil
}

// lost is the error for one who has to begin again, with another handle: to be sent
// back to the same one looks to clients like a cache on the way that is out of
// date. f.mu is held.
func (s *shape) lost(reason string) error {
	f := s.f
	e := &live.GoneError{Reason: reason}
	if f.gone != nil {
		return e
	}
	if newest := f.newest(); newest != nil && newest.number == s.number && time.Since(f.renewed) > renewPause {
		f.renewed = time.Now()
		if err := f.renew(); err != nil {
			f.file.broken = true // the next who comes has it written anew
			return e
		}
	}
	if newest := f.newest(); newest != nil {
		e.Handle = f.handle(newest.number, s.topic)
	}
	return e
}

// renewPause bounds what requests for offsets that never were can cost.
const renewPause = time.Second

// Handle implements live.Shape.
func (s *shape) Handle() string { return s.handle }

// Schema implements live.Shape.
func (s *shape) Schema() string {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	return s.f.def.schema
}

// Reach waits until a batch can be up to date as of a position.
func (s *shape) Reach(ctx context.Context, p revision.LSN) error { return s.f.reach(ctx, p) }

// usable notes that somebody asks, and reports why nobody is answered. f.mu is
// held.
func (f *followed) usable() error {
	f.used.Store(time.Now().UnixNano())
	if f.source != f.hub.opts.Host.Frontier().Source {
		f.over(anotherLog) // its positions mean nothing in that
	}
	switch {
	case f.gone != nil:
		return f.gone
	case f.resting:
		return errResting
	}
	return nil
}

// errResting does not reach who opens a shape for each request.
var errResting = fmt.Errorf("%w: the answer has left memory; ask again", live.ErrUnavailable)

// Next implements live.Shape.
func (s *shape) Next(_ context.Context, after live.Offset) (*live.Batch, error) {
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return nil, err
	}
	position := after
	if after == live.Start || after.LSN == 0 {
		b, err := f.chunk(s, after)
		if b != nil || err != nil {
			return b, err
		}
		position = f.snapshot(s.number).after
	}
	from, first, err := f.find(position)
	if err != nil {
		return nil, s.lost(err.Error())
	}
	return f.batch(s.topic, after, position, from, first), nil
}

// chunk returns the chunk of the snapshot that comes after an offset in it, or nil
// at its end. f.mu is held.
func (f *followed) chunk(s *shape, after live.Offset) (*live.Batch, error) {
	snap := f.snapshot(s.number)
	if snap == nil {
		return nil, s.lost(errDropped.Error())
	}
	v, err := snap.view(f.def, &f.file, s.topic, f.used.Load())
	if err != nil {
		return nil, s.unread(err)
	}
	i := uint64(0)
	if after != live.Start {
		i = after.Index + 1
	}
	switch {
	case i < uint64(v.chunks):
		b, err := v.batch(snap, f.def, &f.file, s.topic, int(i))
		if err != nil {
			return nil, s.unread(err)
		}
		return b, nil
	case i == uint64(v.chunks):
		return nil, nil
	}
	return nil, s.lost("the offset is beyond the snapshot")
}

// unread is the error for one who needs what the file does not say any more. f.mu
// is held.
func (s *shape) unread(err error) error {
	f := s.f
	if errors.Is(err, errDropped) {
		return s.lost(err.Error())
	}
	f.hub.tally.Warn("the file of a followed answer cannot be read", err, "answer", f.key)
	f.file.broken = true // a new one is written for the next who comes
	f.snapshots = nil
	return s.lost("what was kept of it cannot be read")
}

type lostError string

func (e lostError) Error() string { return string(e) }

// find returns the first entry in memory that has messages after a position, and
// how many of its messages were received. f.mu is held.
func (f *followed) find(position live.Offset) (from int, received uint64, err error) {
	if position == f.last {
		return len(f.entries), 0, nil
	}
	if position.Compare(f.memory) < 0 && position.Compare(f.begin) >= 0 {
		if err := f.recall(); err != nil {
			return 0, 0, lostError("what was kept of it cannot be read")
		}
	}
	if position == f.memory {
		return 0, 0, nil
	}
	i := sort.Search(len(f.entries), func(i int) bool { return f.entries[i].lsn >= position.LSN })
	switch {
	case position.Compare(f.begin) < 0 || position.Compare(f.memory) < 0:
		return 0, 0, lostError("the offset is too old")
	case position.Index == live.Whole:
		// It was made of the position of a batch that was up to date: all up to
		// there was received.
		for i < len(f.entries) && f.entries[i].lsn == position.LSN {
			i++
		}
		return i, 0, nil
	case i == len(f.entries) || !f.entries[i].includes(position):
		// Messages of such an offset are not known: it is of a time of which the
		// file lost the end.
		return 0, 0, lostError("the offset is not known")
	case position == f.entries[i].last():
		return i + 1, 0, nil
	}
	return i, position.Index - f.entries[i].first + 1, nil
}

// includes reports whether an offset is that of one of the entry's messages.
func (e *entry) includes(o live.Offset) bool {
	return o.LSN == e.lsn && o.Index >= e.first && o.Index-e.first < e.count
}

// tip is the batch that was made last for those at one offset.
type tip struct {
	after live.Offset
	batch *live.Batch
}

// batch makes what comes after an offset, from an entry on. f.mu is held.
func (f *followed) batch(topic string, after, position live.Offset, from int, received uint64) *live.Batch {
	t := &f.tip
	if topic != "" {
		t = &f.topic(topic).tip
	}
	b := &live.Batch{End: after}
	size := f.hub.opts.ChunkBytes
	i := from
	for ; i < len(f.entries) && len(b.Messages) < size; i++ {
		e := f.entries[i]
		if topic == "" && received == 0 && len(e.text) <= 2*size {
			b.Messages = join(b.Messages, e.text)
			b.End = e.last()
			continue
		}
		rest := e.text
		n := uint64(0)
		for ; n < e.count && len(b.Messages) < size; n++ {
			var m []byte
			m, rest = cutMessage(rest)
			if n < received || topic != "" && e.topics[n] != topic {
				continue
			}
			b.Messages = join(b.Messages, m)
			b.End = e.offset(n)
		}
		received = 0
		if n < e.count && (topic == "" || e.has(topic, n)) {
			break
		}
	}
	if i < len(f.entries) {
		return b // there is more
	}
	b.UpToDate, b.At = true, f.now()
	if topic != "" && b.Messages == nil && f.aged(position) {
		// Its last message is about to be dropped from the log, which goes on
		// although nothing in it is this account's.
		b.End = f.last
	}
	if p := t.batch; p != nil && t.after == after && p.End == b.End {
		if p.At == b.At && len(p.Messages) == len(b.Messages) {
			return p
		}
		if len(p.Messages) == len(b.Messages) {
			b.Messages = p.Messages // held once
		}
	}
	*t = tip{after, b}
	return b
}

// join appends a message to others. The first one is not copied.
func join(b, m []byte) []byte {
	if len(b) == 0 {
		return m[:len(m):len(m)]
	}
	return append(append(b, ',', '\n'), m...)
}

// cutMessage takes the first of messages off.
func cutMessage(messages []byte) (m, rest []byte) {
	for i, c := range messages {
		if c == '\n' {
			return messages[:i-1], messages[i+1:]
		}
	}
	return messages, nil
}

// has reports whether a topic has a message of the entry from the n-th on.
func (e *entry) has(topic string, n uint64) bool {
	for _, t := range e.topics[n:] {
		if t == topic {
			return true
		}
	}
	return false
}

// aged reports whether a position is in the older half of what is in memory.
// f.mu is held.
func (f *followed) aged(position live.Offset) bool {
	if position.Compare(f.memory) <= 0 {
		return f.last != f.memory
	}
	n := len(f.entries)
	return n > 1 && position.LSN < f.entries[n/2].lsn
}

// topic returns an account's topic. f.mu is held.
func (f *followed) topic(name string) *topic {
	t := f.topics[name]
	if t == nil {
		t = &topic{last: f.memory}
		for _, e := range f.entries {
			for i, of := range e.topics {
				if of == name {
					t.last = e.offset(uint64(i))
				}
			}
		}
		if f.topics == nil {
			f.topics = map[string]*topic{}
		}
		f.topics[name] = t
	}
	t.used = f.used.Load()
	return t
}

// Last implements live.Shape.
func (s *shape) Last(context.Context) (live.Offset, error) {
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.usable(); err != nil {
		return live.Offset{}, err
	}
	return f.last, nil
}

// Changed implements live.Shape.
func (s *shape) Changed(after live.Offset) *live.News {
	f := s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.usable() != nil {
		return nil // Next says why
	}
	if after == live.Start || after.LSN == 0 {
		// Only at its end is there nothing more.
		snap := f.snapshot(s.number)
		if snap == nil || after == live.Start {
			return nil
		}
		v, err := snap.view(f.def, &f.file, s.topic, f.used.Load())
		if err != nil || after.Index+1 != uint64(v.chunks) {
			return nil
		}
		after = snap.after
	}
	changed := &f.changed
	switch {
	case s.topic == "":
		if after != f.last {
			return nil
		}
	case after.Compare(f.memory) < 0 || after.Compare(f.last) > 0:
		return nil
	default:
		t := f.topic(s.topic)
		if t.last.Compare(after) > 0 {
			return nil
		}
		changed = &t.changed
	}
	if *changed == nil {
		*changed = &live.News{}
	}
	return *changed
}
