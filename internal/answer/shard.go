package answer

import "sync"

const shardCount = 64

type shard struct {
	mu      sync.RWMutex
	entries map[uint64]*Entry // by the hash of their keys
	others  map[string]*Entry // those whose hash is another one's, too
	head    *Entry            // newest
	tail    *Entry            // oldest
	hand    *Entry
	_       [64]byte // keeps two shards' locks off one cache line
}

func (sh *shard) get(h uint64, key string) *Entry {
	if e := sh.entries[h]; e != nil && e.key == key {
		return e
	}
	return sh.others[key]
}

// len returns the number of entries.
func (sh *shard) len() int { return len(sh.entries) + len(sh.others) }

// all yields the entries in random order.
func (sh *shard) all(yield func(*Entry) bool) {
	for _, e := range sh.entries {
		if !yield(e) {
			return
		}
	}
	for _, e := range sh.others {
		if !yield(e) {
			return
		}
	}
}

func (sh *shard) add(h uint64, e *Entry) {
	if sh.entries[h] == nil {
		sh.entries[h] = e
	} else {
		if sh.others == nil {
			sh.others = map[string]*Entry{}
		}
		sh.others[e.key] = e
	}
	e.next = sh.head
	if sh.head != nil {
		sh.head.prev = e
	}
	sh.head = e
	if sh.tail == nil {
		sh.tail = e
	}
}

func (sh *shard) unlink(h uint64, e *Entry) {
	if sh.entries[h] == e {
		delete(sh.entries, h)
	} else {
		delete(sh.others, e.key)
	}
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
	for range 2*sh.len() + 1 {
		if sh.hand == nil {
			if sh.hand = sh.tail; sh.hand == nil {
				return nil
			}
		}
		e := sh.hand
		sh.hand = e.prev
		if e.flags.And(^visited) != 0 {
			continue
		}
		return e
	}
	return nil
}
