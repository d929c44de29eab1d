package answer

import (
	"sync"
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
)

// Entry is one answer through all its versions. There may be millions: what most
// of them do not need hangs from them.
type Entry struct {
	key     string
	group   *Group
	current atomic.Pointer[Version] // the newest, perhaps ended
	size    atomic.Int64
	flags   atomic.Uint32

	// Guarded by Store.mu.
	at      uint32               // place in following.items, if that is its own
	nodes   match.Handle[*Entry] // of the current version, while it is open
	state   *patch.State         // by which it follows its rows, or nil
	rate    float32              // of reads of a version before a change ends it
	rated   bool                 // rate means something
	refined bool                 // nodes are of this version, not of its query
	dead    bool                 // evicted or purged

	prev, next *Entry // guarded by shard.mu

	mu   sync.Mutex
	fill *fill
	past *past // nil as long as no version has ended; set under Store.mu, too
}

// The flags of an Entry.
const (
	visited uint32 = 1 << iota // since the eviction hand passed
	filling
	watched // see Watch; keeps it from being evicted, as the others do
)

// visit notes a read for those who look for an entry to evict.
func (e *Entry) visit() {
	if e.flags.Load()&visited == 0 {
		e.flags.Or(visited)
	}
}

// past is what is left of an entry's earlier versions.
type past struct {
	why  *Reason    // why the last version that ended did; guarded by Store.mu
	kept []*Version // oldest first; guarded by Entry.mu
}

// ended returns an entry's past, now that it has one. Store.mu and e.mu are held.
func (e *Entry) ended() *past {
	if e.past == nil {
		e.past = &past{}
	}
	return e.past
}

// kept returns an entry's earlier versions, oldest first. e.mu is held.
func (e *Entry) kept() []*Version {
	if e.past == nil {
		return nil
	}
	return e.past.kept
}

// explain notes why the last version that ended did. Store.mu is held.
func (e *Entry) explain(why *Reason) {
	e.mu.Lock()
	e.ended().why = why
	e.mu.Unlock()
}

// Key returns the key of the entry's answer.
func (e *Entry) Key() string { return e.key }

// Group returns the group that the entry belongs to.
func (e *Entry) Group() *Group { return e.group }
