package answer

import (
	"context"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/patch"
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
	// Fills is how many calls of a Source run at once, of which at most half
	// compute what nobody waits for; 8.
	Fills int
	// Queue is how many fills that somebody waits for may wait for their turn;
	// further requests are refused with an OverloadedError. 10,000.
	Queue int
	// Refills is how many answers may wait to be computed before somebody asks;
	// of more, those read most between changes. 4,096.
	Refills int
	// NoRefill leaves every answer to its next reader.
	NoRefill bool
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
	queue    queue

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

	following following // of the transaction being applied

	watchers map[*Entry][]Watcher // of the current versions

	due         []*Entry // to be computed before somebody asks
	refillTimer *time.Timer

	// For tests: changes that Apply matches before it gives the lock away, and
	// what it does while it has.
	batch   int
	between func()
}

// NewStore returns an empty store at a frontier.
func NewStore(opts Options, source revision.Source, at revision.LSN) *Store {
	setDefault(&opts.MaxMemory, 512<<20)
	setDefault(&opts.HistoryMemory, 64<<20)
	setDefault(&opts.FillTimeout, 15*time.Second)
	setDefault(&opts.ProofTimeout, 5*time.Second)
	setDefault(&opts.Patience, 250*time.Millisecond)
	setDefault(&opts.Fills, 8)
	setDefault(&opts.Queue, 10_000)
	setDefault(&opts.Refills, 4096)
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s := &Store{
		opts:    opts,
		seed:    maphash.MakeSeed(),
		index:   match.NewIndex[*Entry](),
		history: newHistory(at, opts.HistoryMemory),
		unknown: map[revision.XID][]catalog.OID{},
		batch:   applyBatch,
	}
	s.queue.slots, s.queue.most, s.queue.refills = opts.Fills, opts.Queue, opts.Refills
	s.queue.launch = s.launch
	for i := range s.shards {
		s.shards[i].entries = map[uint64]*Entry{}
	}
	s.frontier.Store(revision.NewFrontier(source, at))
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func setDefault[T int | int64 | time.Duration](v *T, def T) {
	if *v == 0 {
		*v = def
	}
}

// Close ends all fills and waits for them.
func (s *Store) Close() {
	s.mu.Lock()
	s.due = nil
	if s.refillTimer != nil {
		s.refillTimer.Stop()
	}
	s.mu.Unlock()
	waiting := s.queue.close()
	s.cancel()
	for _, j := range waiting {
		if j.fill != nil {
			s.finish(j.fill, nil, ErrClosing)
		}
	}
	s.fills.Wait()
}

// Frontier returns the frontier of the current epoch.
func (s *Store) Frontier() *revision.Frontier { return s.frontier.Load() }

// shard returns where a key belongs, and its hash.
func (s *Store) shard(key string) (*shard, uint64) {
	h := maphash.String(s.seed, key)
	return &s.shards[h%shardCount], h
}

// find returns the entry of a key, or nil.
func (s *Store) find(key string) *Entry {
	sh, h := s.shard(key)
	sh.mu.RLock()
	e := sh.get(h, key)
	sh.mu.RUnlock()
	return e
}

// entry returns the entry of a query's answer, making one when there is none or
// when the one there belongs to another group. A query of a retired group gets
// one that is not in the store.
func (s *Store) entry(q *Query) *Entry {
	sh, h := s.shard(q.Key)
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
			if sh.get(h, q.Key) != nil {
				sh.mu.Unlock()
				continue
			}
			sh.add(h, e)
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
	entryOverhead   = 232 // the entry and its place in a shard
	versionOverhead = 112
	endOverhead     = 128 // how it ended, and what waits for its being forgotten
	stateOverhead   = 8
)

func (s *Store) resize(e *Entry, by int64) {
	e.size.Add(by)
	s.bytes.Add(by)
}

func versionSize(v *Version) int64 {
	size := versionOverhead + int64(len(v.Body))
	if v.until() != 0 {
		size += endOverhead
	}
	if p := v.Packed.Load(); p != nil {
		size += int64(len(*p))
	}
	return size
}

// Packed keeps another encoding of a version's body beside it.
func (s *Store) Packed(key string, v *Version, packed []byte) {
	e := s.find(key)
	if e == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !e.dead && e.current.Load() == v && v.Packed.CompareAndSwap(nil, &packed) {
		s.resize(e, int64(len(packed)))
	}
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
	s.tell(e)
	s.unregister(e)
	e.mu.Lock()
	e.past = nil
	s.abandon(e)
	e.mu.Unlock()
	sh, h := s.shard(e.key)
	sh.mu.Lock()
	sh.unlink(h, e)
	sh.mu.Unlock()
	s.entries.Add(-1)
	s.bytes.Add(-e.size.Load())
	e.group.Answers.Add(-1)
}

// register enters an entry's open version in the index, with the state by which
// it follows its rows. Store.mu is held.
func (s *Store) register(e *Entry, deps []match.Dependency, state *patch.State) {
	s.index.Add(&e.nodes, e, deps)
	s.resize(e, e.nodes.Size())
	s.restate(e, state)
}

// restate sets the state of an entry's current version. Store.mu is held.
func (s *Store) restate(e *Entry, state *patch.State) {
	s.resize(e, stateSize(state)-stateSize(e.state))
	e.state = state
}

func stateSize(s *patch.State) int64 {
	if s == nil {
		return 0
	}
	return stateOverhead + s.Size()
}

// unregister takes what register entered back. Store.mu is held.
func (s *Store) unregister(e *Entry) {
	s.resize(e, -e.nodes.Size())
	s.index.Remove(&e.nodes)
	s.restate(e, nil)
	e.refined = false
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
