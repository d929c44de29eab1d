package graph

import (
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
)

const (
	// blockSize objects with neighbouring IDs have one type. Objects of a type
	// are read together, and most types have edges on one side only.
	blockBits = 8
	blockSize = 1 << blockBits
	maxBlocks = 1 << (32 - blockBits)

	chunkSize = 1 << 16 // bytes of names that are kept together
	lenBits   = 16      // of the length in a reference to a name
)

// objects numbers objects, as one version sees them. The writer goes on with a
// value of its own: it only adds, behind the ends that earlier versions have, so
// that they need no locks. The slots of the table are the exception, which it
// fills in place: they are read atomically, and what is newer than the version
// is passed over.
type objects struct {
	seed   maphash.Seed
	table  []uint64 // open addressing: 32 bits of hash, ID; 0 is free
	used   int
	full   []string // names, chunkSize bytes at most each
	tail   string   // the names behind those
	blocks []block  // by ID >> blockBits; the first is empty, so that no object has ID 0
	byType []kind   // by Type
}

// block is blockSize objects of a type.
type block struct {
	typ   Type
	first int // how many objects of the type are in blocks before
	names *[blockSize]uint64
}

// kind is the objects of a type.
type kind struct {
	blocks []uint32
	n      int
}

func newObjects() objects {
	return objects{seed: maphash.MakeSeed(), table: make([]uint64, 64), blocks: make([]block, 1)}
}

// tag returns the part of a hash that is kept in the table.
func (o *objects) tag(t Type, id string) uint32 {
	h := (maphash.String(o.seed, id) ^ uint64(t)) * 0x9e3779b97f4a7c15
	return uint32(h >> 32)
}

func (o *objects) find(t Type, id string) (ID, bool) {
	tag := o.tag(t, id)
	mask := uint32(len(o.table) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		slot := atomic.LoadUint64(&o.table[i])
		if slot == 0 {
			return 0, false
		}
		if uint32(slot>>32) == tag && o.is(ID(slot), t, id) {
			return ID(slot), true
		}
	}
}

// is reports whether the version knows an object by a type and id.
func (o *objects) is(n ID, t Type, id string) bool {
	if !o.has(n) {
		return false
	}
	return o.blocks[n>>blockBits].typ == t && o.name(n) == id
}

// has reports whether the version knows an object.
func (o *objects) has(n ID) bool {
	if n>>blockBits == 0 || int(n>>blockBits) >= len(o.blocks) {
		return false
	}
	b := &o.blocks[n>>blockBits]
	return b.first+int(n%blockSize) < o.byType[b.typ].n
}

func (o *objects) name(n ID) string {
	ref := o.blocks[n>>blockBits].names[n%blockSize]
	from, size := ref>>lenBits, ref&(1<<lenBits-1)
	chunk := o.tail
	if c := from / chunkSize; c < uint64(len(o.full)) {
		chunk = o.full[c]
	}
	return chunk[from%chunkSize:][:size]
}

// end returns an ID above all.
func (o *objects) end() int { return len(o.blocks) << blockBits }

// intern is the writer's find: it adds what is not there. The names' builder
// belongs to the writer too.
func (o *objects) intern(names *strings.Builder, t Type, id string) (ID, error) {
	if n, ok := o.find(t, id); ok {
		return n, nil
	}
	if len(id) >= 1<<lenBits {
		return 0, fmt.Errorf("an id of %d bytes: %w", len(id), ErrFull)
	}
	for int(t) >= len(o.byType) {
		o.byType = append(o.byType, kind{})
	}
	k := &o.byType[t]
	if k.n%blockSize == 0 {
		if len(o.blocks) == maxBlocks {
			return 0, fmt.Errorf("object %s: %w", id, ErrFull)
		}
		k.blocks = append(k.blocks, uint32(len(o.blocks)))
		o.blocks = append(o.blocks, block{typ: t, first: k.n, names: new([blockSize]uint64)})
	}
	if names.Cap() == 0 || names.Len()+len(id) > chunkSize {
		if names.Cap() > 0 {
			o.full = append(o.full, names.String())
		}
		names.Reset()
		names.Grow(chunkSize)
	}
	from := uint64(len(o.full)*chunkSize + names.Len())
	names.WriteString(id)
	o.tail = names.String()

	b := k.blocks[len(k.blocks)-1]
	n := ID(b)<<blockBits | ID(k.n%blockSize)
	o.blocks[b].names[n%blockSize] = from<<lenBits | uint64(len(id))
	k.n++
	o.used++
	if o.used*4 > len(o.table)*3 {
		o.grow()
	}
	insert(o.table, uint64(o.tag(t, id))<<32|uint64(n))
	return n, nil
}

// grow moves the writer to a new table. Earlier versions keep theirs.
func (o *objects) grow() {
	table := make([]uint64, 2*len(o.table))
	for _, slot := range o.table {
		if slot != 0 {
			insert(table, slot)
		}
	}
	o.table = table
}

func insert(table []uint64, slot uint64) {
	mask := uint32(len(table) - 1)
	i := uint32(slot>>32) & mask
	for table[i] != 0 {
		i = (i + 1) & mask
	}
	atomic.StoreUint64(&table[i], slot)
}

// version returns what readers may keep.
func (o *objects) version() *objects {
	v := *o
	v.byType = slices.Clone(o.byType)
	return &v
}

// of returns the objects of a type in order, from an ID on.
func (o *objects) of(t Type, from ID) iter.Seq[ID] {
	return func(yield func(ID) bool) {
		if int(t) >= len(o.byType) {
			return
		}
		k := &o.byType[t]
		i, _ := slices.BinarySearch(k.blocks, uint32(from>>blockBits))
		for ; i < len(k.blocks); i++ {
			for slot := range min(blockSize, k.n-i*blockSize) {
				if n := ID(k.blocks[i])<<blockBits | ID(slot); n >= from && !yield(n) {
					return
				}
			}
		}
	}
}
