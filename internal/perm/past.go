package perm

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"
	"unsafe"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// A version of the graph shares nearly everything with its neighbours, but what
// it does not share is some ten kilobytes. So only some are kept whole, beside
// the newest: one in wholeEvery, and one where the updates since the last one are
// wholeAfter. The others are made again from the nearest one before and the
// updates in between.
const (
	wholeEvery = 64
	wholeAfter = 1024
)

// maxPast bounds in bytes, as they are estimated, what is kept of the past,
// whatever the window says. When it is reached, the older half goes.
const maxPast = 256 << 20

// entry is one version and the transaction that made it.
type entry struct {
	event Event
	// version has a graph only where that is kept whole; updates leads to it from
	// the version before. Neither is there once it is too old to be asked for.
	version Version
	updates []graph.Update
	size    int64     // of what there is
	ended   time.Time // when the next one came; zero for the newest
}

// past is the newest version and those before it, by position. The first one is
// whole, or too old to be asked for; so is the one that aged leaves first.
type past struct {
	entries                    []entry
	aged                       int          // entries before it have no version any more
	dropped                    revision.LSN // events at or before it are not kept
	bytes                      int64
	limit                      int64
	entriesSince, updatesSince int // the last one that is kept whole
}

func (p *past) begin(v *Version) {
	*p = past{entries: []entry{{event: Event{LSN: v.LSN}, version: *v}}, dropped: v.LSN, limit: p.limit}
}

func (p *past) end() { *p = past{limit: p.limit} }

// push adds the next version.
func (p *past) push(e entry, now time.Time) {
	last := &p.entries[len(p.entries)-1]
	last.ended = now
	compacted := last.version.Graph.Epoch() != e.version.Graph.Epoch()
	// The names of the last version before the objects are numbered anew are needed
	// to make earlier ones again.
	if p.entriesSince > 0 && !compacted {
		last.version.Graph = nil
	}
	p.entriesSince++
	p.updatesSince += len(e.updates)
	e.size = int64(unsafe.Sizeof(e)) + e.event.size()
	if p.entriesSince >= wholeEvery || p.updatesSince >= wholeAfter || compacted {
		e.size += 8<<10 + min(1536*int64(p.updatesSince), 100*int64(e.version.Graph.Len()))
		p.entriesSince, p.updatesSince = 0, 0
		e.updates = nil
	}
	e.size += sizeOf(e.updates)
	p.bytes += e.size
	p.entries = append(p.entries, e)
}

func (e *entry) whole() bool { return e.version.Graph != nil }

// forget drops versions that ended before a time, and the older half of more than
// is kept, so that a transaction pays for it only now and then.
func (p *past) forget(before time.Time) {
	for i := p.aged; i < len(p.entries) && (i == p.aged || p.entries[i-1].ended.Before(before)); i++ {
		if !p.entries[i].whole() {
			continue
		}
		for ; p.aged < i; p.aged++ {
			e := &p.entries[p.aged]
			p.bytes -= e.size
			e.version, e.updates = Version{}, nil
			e.size = int64(unsafe.Sizeof(*e)) + e.event.size()
			p.bytes += e.size
		}
	}
	if p.bytes <= p.limit {
		return
	}
	n := 0
	left := p.bytes
	for n < len(p.entries)-1 && (left > p.limit/2 || n >= p.aged && !p.entries[n].whole()) {
		left -= p.entries[n].size
		n++
	}
	if n == 0 {
		return
	}
	p.bytes = left
	p.dropped = p.entries[n-1].event.LSN
	p.entries = slices.Clone(p.entries[n:])
	p.aged = max(0, p.aged-n)
}

// way is what leads from a version that is kept whole to a later one.
type way struct {
	from    Version
	updates [][]graph.Update // of each version after it
	at      []revision.LSN   // of each
	names   *graph.Snapshot
}

// at returns the version as of a position. Where its graph is not kept, a way
// leads there.
func (p *past) at(lsn revision.LSN) (*Version, *way, bool) {
	i := sort.Search(len(p.entries), func(i int) bool { return p.entries[i].event.LSN > lsn }) - 1
	if i < p.aged {
		return nil, nil, false
	}
	v := p.entries[i].version
	if p.entries[i].whole() {
		return &v, nil, true
	}
	w := &way{}
	j := i
	for !p.entries[j].whole() {
		w.updates, w.at = append(w.updates, p.entries[j].updates), append(w.at, p.entries[j].event.LSN)
		j--
	}
	slices.Reverse(w.updates)
	slices.Reverse(w.at)
	w.from = p.entries[j].version
	for i++; !p.entries[i].whole(); i++ {
	}
	w.names = p.entries[i].version.Graph
	return &v, w, true
}

// replays makes versions again, and keeps the last few that were.
type replays struct {
	mu   sync.Mutex
	kept []Version // the one that was used last comes first
}

const maxReplays = 16

func (r *replays) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.kept = nil
}

// make completes v, to which w leads.
func (r *replays) make(v *Version, w *way) (*Version, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, done := w.from.Graph, 0
	for i := range r.kept {
		k := &r.kept[i]
		at, ok := slices.BinarySearch(w.at, k.LSN)
		if !ok || k.Graph.Graph() != g.Graph() {
			continue
		}
		if at == len(w.at)-1 {
			v.Graph = k.Graph
			again := *k
			r.kept = slices.Insert(slices.Delete(r.kept, i, i+1), 0, again)
			return v, nil
		}
		if at >= done {
			g, done = k.Graph, at+1
		}
	}
	replay := graph.NewReplayer(w.names)
	for _, updates := range w.updates[done:] {
		if len(updates) == 0 {
			continue
		}
		var err error
		if g, err = replay.Apply(g, updates); err != nil {
			return nil, fmt.Errorf("make the version as of %s again: %w", v.LSN, err)
		}
	}
	v.Graph = g
	r.kept = slices.Insert(r.kept, 0, *v)
	r.kept = r.kept[:min(len(r.kept), maxReplays)]
	return v, nil
}

// size estimates what an event takes.
func (e *Event) size() int64 {
	n := int64(unsafe.Sizeof(*e)) + int64(len(e.Metadata))
	for i := range e.Changes {
		n += int64(unsafe.Sizeof(e.Changes[i])) + textOf(&e.Changes[i].Relationship)
	}
	return n
}

// sizeOf estimates what updates take.
func sizeOf(updates []graph.Update) int64 {
	n := int64(0)
	for i := range updates {
		n += int64(unsafe.Sizeof(updates[i])) + textOf(&updates[i].Relationship)
	}
	return n
}

// textOf estimates the texts of a relationship, those of types and relations left
// out, which are few.
func textOf(r *tuple.Relationship) int64 {
	return int64(len(r.Resource.ID) + len(r.Subject.ID) + len(r.Context))
}
