package feed

import (
	"encoding/binary"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/pgoutput"
)

// recordHeader precedes each kept message: its length.
const recordHeader = 4

// pending is a transaction whose commit has not been read: its messages as
// they came, because neither their order among other transactions nor whether
// they count is known before. The messages live in mem, or in file followed by
// mem once they are too many.
type pending struct {
	xid      uint32
	streamed bool // every message carries the id of its (sub-)transaction
	commit   uint64

	mem   []byte
	file  *spillFile
	count int // messages kept
	// aborted lists the sub-transactions that rolled back, ascending.
	aborted []uint32
}

func (p *pending) add(msg []byte) {
	p.mem = binary.BigEndian.AppendUint32(p.mem, uint32(len(msg)))
	p.mem = append(p.mem, msg...)
	p.count++
}

// abort drops a sub-transaction. The server names each nested one by itself.
func (p *pending) abort(subxid uint32) {
	if i, found := slices.BinarySearch(p.aborted, subxid); !found {
		p.aborted = slices.Insert(p.aborted, i, subxid)
	}
}

// spill moves what is in memory to disk.
func (p *pending) spill(dir *spillDir) error {
	if p.file == nil {
		f, err := dir.create()
		if err != nil {
			return err
		}
		p.file = f
	}
	if err := p.file.write(p.mem); err != nil {
		return err
	}
	p.mem = p.mem[:0]
	return nil
}

// discard releases what the transaction holds.
func (p *pending) discard() {
	if p.file != nil {
		p.file.remove()
		p.file = nil
	}
	p.mem = nil
}

// each calls yield with every message that counts, in order. A message of a
// spilled transaction holds until the next call.
func (p *pending) each(yield func(msg []byte) error) error {
	if len(p.aborted) > 0 {
		all := yield
		yield = func(msg []byte) error {
			_, xid, err := pgoutput.Peek(msg, true)
			if err != nil {
				return err
			}
			if _, dropped := slices.BinarySearch(p.aborted, xid); dropped {
				return nil
			}
			return all(msg)
		}
	}
	if p.file != nil {
		if err := p.file.each(yield); err != nil {
			return err
		}
	}
	return eachRecord(p.mem, yield)
}

func eachRecord(mem []byte, yield func(msg []byte) error) error {
	for len(mem) > 0 {
		n := recordHeader + int(binary.BigEndian.Uint32(mem))
		if err := yield(mem[recordHeader:n:n]); err != nil {
			return err
		}
		mem = mem[n:]
	}
	return nil
}
