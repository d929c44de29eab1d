package answer

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Options configure a Store. Zero values mean the defaults named.
type Options struct {
	MaxMemory     int64         // bytes of answers with all that hangs from them; 512 MiB
	HistoryMemory int64         // bytes of recent changes kept whole; 64 MiB
	GCWindow      time.Duration // how long ended versions and history are kept
	FillTimeout   time.Duration // for one fill, retries included; 15 s
	// ProofTimeout bounds how long a fill whose query is done may take to be
	// proven equal to a position; 5 s.
	ProofTimeout time.Duration
	// Patience is how long a request that may be answered by what the database
	// says right now waits for the proof of a position; 250 ms.
	Patience time.Duration
	Now      func() time.Time
}

// Store holds the answers of one tenant. Its methods are safe for concurrent
// use, except that Apply, Reset and the session calls come from one goroutine.
type Store struct {
	opts     Options
	frontier atomic.Pointer[revision.Frontier]
	frozen   atomic.Bool // the log has not been heard for too long
	seed     maphash.Seed
	shards   [shardCount]shard
	bytes    atomic.Int64
	entries  atomic.Int64
	ctx      context.Context // of fills
	cancel   context.CancelFunc
	fills    sync.WaitGroup

	evictions, evictedBytes atomic.Int64
	endedBy                 [reasonCount]atomic.Int64

	mu      sync.Mutex // the seam: what Apply changes and a finished fill reads
	index   *match.Index[*Entry]
	history *history
	session uint64 // fills of an earlier session are not kept
	unknown map[revision.XID][]catalog.OID
	pins    []*Pin
	ended   endedQueue
	hand    int // the next shard to evict from
}

const shardCount = 64

type shard struct {
	mu      sync.RWMutex
	entries map[string]*Entry
	head    *Entry // newest
	tail    *Entry // oldest
	hand    *Entry
	_       [64]byte // keeps two shards' locks off one cache line
}

// Entry is one answer through all its versions.
type Entry struct {
	key     string
	group   *Group
	current atomic.Pointer[Version] // the newest, perhaps ended
	visited atomic.Bool             // since the eviction hand passed
	filling atomic.Bool
	size    atomic.Int64

	nodes      []*match.Node[*Entry] // guarded by Store.mu; of the current version
	dead       bool                  // guarded by Store.mu; evicted or purged
	prev, next *Entry                // guarded by shard.mu

	mu   sync.Mutex
	fill *fill
	kept []*Version // earlier ones, oldest first
}

// Key returns the key of the entry's answer.
func (e *Entry) Key() string { return e.key }

// Group returns the group that the entry belongs to.
func (e *Entry) Group() *Group { return e.group }

// NewStore returns an empty store at a frontier.
func NewStore(opts Options, source revision.Source, at revision.LSN) *Store {
	setDefault(&opts.MaxMemory, 512<<20)
	setDefault(&opts.HistoryMemory, 64<<20)
	setDefault(&opts.FillTimeout, 15*time.Second)
	setDefault(&opts.ProofTimeout, 5*time.Second)
	setDefault(&opts.Patience, 250*time.Millisecond)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{
		opts:    opts,
		seed:    maphash.MakeSeed(),
		index:   match.NewIndex[*Entry](),
		history: newHistory(at, opts.HistoryMemory),
		unknown: map[revision.XID][]catalog.OID{},
	}
	for i := range s.shards {
		s.shards[i].entries = map[string]*Entry{}
	}
	s.frontier.Store(revision.NewFrontier(source, at))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func setDefault[T int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Close ends all fills and waits for them.
func (s *Store) Close() {
	s.cancel()
	s.fills.Wait()
}

// Frontier returns the frontier of the current epoch.
func (s *Store) Frontier() *revision.Frontier { return s.frontier.Load() }

func (s *Store) shard(key string) *shard {
	return &s.shards[maphash.String(s.seed, key)%shardCount]
}

// find returns the entry of a key, or nil.
func (s *Store) find(key string) *Entry {
	sh := s.shard(key)
	sh.mu.RLock()
	e := sh.entries[key]
	sh.mu.RUnlock()
	return e
}

// entry returns the entry of a query's answer, making one when there is none or
// when the one there belongs to another group. A query of a retired group gets
// one that is not in the store.
func (s *Store) entry(q *Query) *Entry {
	sh := s.shard(q.Key)
	for {
		e := s.find(q.Key)
		switch {
		case e != nil && e.group == q.Group:
			return e
		case q.Group.retired.Load():
			return &Entry{key: q.Key, group: q.Group, dead: true}
		case e != nil:
			s.mu.Lock()
			s.drop(e)
			s.mu.Unlock()
		default:
			e = &Entry{key: q.Key, group: q.Group}
			size := entryOverhead + int64(len(e.key))
			e.size.Store(size)
			sh.mu.Lock()
			if sh.entries[q.Key] != nil {
				sh.mu.Unlock()
				continue
			}
			sh.add(e)
			sh.mu.Unlock()
			s.bytes.Add(size)
			s.entries.Add(1)
			q.Group.Answers.Add(1)
			return e
		}
	}
}

// Sizes of what an answer takes beside its key and body, measured on 64-bit
// builds and rounded up.
const (
	entryOverhead   = 360 // the entry and its places in the maps
	versionOverhead = 520 // with what a face renders beside it once it is hit
	nodeOverhead    = 120 // a node and its place in the index
)

func (s *Store) resize(e *Entry, by int64) {
	e.size.Add(by)
	s.bytes.Add(by)
}

func versionSize(v *Version) int64 { return versionOverhead + int64(len(v.Body)) }

// Packed keeps another encoding of a version's body beside it.
func (s *Store) Packed(key string, v *Version, packed []byte) {
	if !v.Packed.CompareAndSwap(nil, &packed) {
		return
	}
	if e := s.find(key); e != nil && e.current.Load() == v {
		s.resize(e, int64(len(packed)))
	}
}

func (sh *shard) add(e *Entry) {
	sh.entries[e.key] = e
	e.next = sh.head
	if sh.head != nil {
		sh.head.prev = e
	}
	sh.head = e
	if sh.tail == nil {
		sh.tail = e
	}
}

func (sh *shard) unlink(e *Entry) {
	delete(sh.entries, e.key)
	if sh.hand == e {
		sh.hand = e.prev
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		sh.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		sh.tail = e.prev
	}
	e.prev, e.next = nil, nil
}

// victim returns the entry that the SIEVE rule (Zhang et al., NSDI 2024) would
// evict: the oldest that was not visited since the hand last passed it.
func (sh *shard) victim() *Entry {
	for range 2*len(sh.entries) + 1 {
		if sh.hand == nil {
			if sh.hand = sh.tail; sh.hand == nil {
				return nil
			}
		}
		e := sh.hand
		sh.hand = e.prev
		if e.filling.Load() || e.visited.Swap(false) {
			continue
		}
		return e
	}
	return nil
}

// drop takes an entry out of the store and its dependencies out of the index.
// Store.mu is held.
func (s *Store) drop(e *Entry) {
	if e.dead {
		return
	}
	e.dead = true
	// Nobody may find it current once nothing ends it any more.
	e.current.Store(nil)
	s.unregister(e)
	sh := s.shard(e.key)
	sh.mu.Lock()
	sh.unlink(e)
	sh.mu.Unlock()
	s.entries.Add(-1)
	s.bytes.Add(-e.size.Load())
	e.group.Answers.Add(-1)
}

func (s *Store) unregister(e *Entry) {
	if e.nodes != nil {
		s.index.Remove(e.nodes)
		s.resize(e, -nodeOverhead*int64(len(e.nodes)))
		e.nodes = nil
	}
}

// evict brings the store below its bound. Store.mu is held.
func (s *Store) evict() {
	for misses := 0; s.bytes.Load() > s.opts.MaxMemory && misses < shardCount; {
		sh := &s.shards[s.hand%shardCount]
		s.hand++
		sh.mu.Lock()
		e := sh.victim()
		sh.mu.Unlock()
		if e == nil {
			misses++
			continue
		}
		misses = 0
		s.evictions.Add(1)
		s.endedBy[ByEviction].Add(1)
		s.evictedBytes.Add(e.size.Load())
		s.drop(e)
	}
}

// Stats are the store's sizes and counters.
type Stats struct {
	Entries, Bytes, MaxBytes int64
	Nodes                    int
	History                  int
	HistoryBytes             int64
	Unproven                 int
	Pins                     int
	Evictions, EvictedBytes  int64
	Ended                    map[string]int64 // versions ended or dropped, by reason
	Frozen                   bool
}

// Stats returns the current figures.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := make(map[string]int64, reasonCount)
	for i := range s.endedBy {
		ended[reasonNames[i]] = s.endedBy[i].Load()
	}
	return Stats{
		Ended:   ended,
		Entries: s.entries.Load(), Bytes: s.bytes.Load(), MaxBytes: s.opts.MaxMemory,
		Nodes: s.index.Len(), History: len(s.history.records), HistoryBytes: s.history.bytes,
		Unproven: len(s.history.unproven), Pins: len(s.pins),
		Evictions: s.evictions.Load(), EvictedBytes: s.evictedBytes.Load(), Frozen: s.frozen.Load(),
	}
}

// Describe returns the current version of an answer and what it depends on, for
// explanations. The version is nil when there is none.
func (s *Store) Describe(key string) (current *Version, kept int, bytes int64) {
	e := s.find(key)
	if e == nil {
		return nil, 0, 0
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.current.Load(), len(e.kept), e.size.Load()
}
