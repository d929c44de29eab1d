package graph

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// errNames says that a snapshot cannot number what another one rests on.
var errNames = errors.New("the snapshots are not of one graph and epoch, in this order")

// Replayer makes versions of a graph again from an earlier one and the updates
// that came after it. It is used by one goroutine, and does not get in the way of
// the graph's writer.
type Replayer struct {
	names *Snapshot
	work  Graph // only the room, and traits of its own
}

// NewReplayer returns a replayer of versions up to a snapshot: that one has
// numbered everything which the updates name.
func NewReplayer(last *Snapshot) *Replayer { return &Replayer{names: last} }

// Apply returns the version that Apply of the graph made of a version with the
// updates: it has the same numbers, and stands for the same in caches. Every Apply
// has to be made again by itself.
func (p *Replayer) Apply(s *Snapshot, updates []Update) (*Snapshot, error) {
	last := p.names
	if s.graph != last.graph || s.epoch != last.epoch || s.seq >= last.seq {
		return nil, errNames
	}
	next := &Snapshot{
		vocabulary: last.vocabulary, graph: s.graph, objects: last.objects,
		seq: s.seq + 1, epoch: s.epoch, size: s.size, changed: make([]uint64, len(last.pairs)),
	}
	copy(next.changed, s.changed)
	number := func(r *tuple.Relationship) (row, error) {
		e, ok := last.resolve(r)
		if !ok {
			return row{}, fmt.Errorf("%s: %w", r, ErrAbsent)
		}
		return row{e.res, e.sub, e.rel, e.subRel}, nil
	}
	if err := p.work.resolve(updates, number); err != nil {
		return nil, err
	}
	if err := p.work.change(s, next, updates); err != nil {
		return nil, err
	}
	return next, nil
}
