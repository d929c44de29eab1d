package feed

import (
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgoutput"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// limits bound the memory that transactions may take before their commit.
type limits struct {
	total   int64 // of all open transactions
	bytes   int64 // of one transaction
	changes int   // of one transaction
}

// mostSpare bounds the storage that is kept for the next transaction.
const mostSpare = 2 << 20

// assembler gathers the messages of one connection into transactions. Whole
// transactions come between Begin and Commit; large ones come in blocks while
// they run, interleaved with others, and wait for Stream Commit.
type assembler struct {
	limits limits
	dir    *spillDir

	open    *pending // between Begin and Commit
	streams map[uint32]*pending
	block   *pending // between Stream Start and Stream Stop
	held    int64    // bytes in memory, of all of them
	spare   []byte   // storage of the last whole transaction
	decoder pgoutput.Decoder
}

func newAssembler(l limits, dir *spillDir) *assembler {
	return &assembler{limits: l, dir: dir, streams: make(map[uint32]*pending)}
}

// message takes the next message of the log. It returns a transaction when
// that completes one; the caller returns it with release.
func (a *assembler) message(msg []byte) (*committed, error) {
	t, _, err := pgoutput.Peek(msg, a.block != nil)
	if err != nil {
		return nil, fail("decode", err)
	}
	switch t {
	case pgoutput.TypeInsert, pgoutput.TypeUpdate, pgoutput.TypeDelete,
		pgoutput.TypeTruncate, pgoutput.TypeRelation:
		p := a.current()
		if p == nil {
			return nil, protocolError("%v outside of a transaction", t)
		}
		return nil, a.keep(p, msg)
	case pgoutput.TypeType, pgoutput.TypeOrigin:
		return nil, nil // says nothing about a row
	}
	m, err := a.decoder.Decode(msg, a.block != nil)
	if err != nil {
		return nil, fail("decode", err)
	}
	switch m := m.(type) {
	case *pgoutput.LogicalMessage:
		return nil, a.logical(m, msg)
	case *pgoutput.Begin:
		if a.open != nil || a.block != nil {
			return nil, protocolError("Begin inside a transaction")
		}
		a.open = &pending{xid: m.XID, commit: m.FinalLSN, mem: a.spare[:0]}
		a.spare = nil
	case *pgoutput.Commit:
		p := a.open
		if p == nil {
			return nil, protocolError("Commit without Begin")
		}
		a.open = nil
		return complete(p, m.CommitLSN, m.EndLSN, m.Time), nil
	case *pgoutput.StreamStart:
		return nil, a.startBlock(m)
	case *pgoutput.StreamStop:
		if a.block == nil {
			return nil, protocolError("Stream Stop without Stream Start")
		}
		a.block = nil
	case *pgoutput.StreamCommit:
		p := a.streams[m.XID]
		if p == nil || a.open != nil || a.block != nil {
			return nil, protocolError("Stream Commit of transaction %d", m.XID)
		}
		delete(a.streams, m.XID)
		return complete(p, m.CommitLSN, m.EndLSN, m.Time), nil
	case *pgoutput.StreamAbort:
		a.abort(m)
	}
	return nil, nil
}

func complete(p *pending, commit, end uint64, at time.Time) *committed {
	return &committed{pending: p, commit: revision.LSN(commit), end: revision.LSN(end), time: at}
}

func (a *assembler) current() *pending {
	if a.block != nil {
		return a.block
	}
	return a.open
}

// logical keeps the announcement of a changed definition, and nothing else.
// Messages that are not transactional are not part of the transaction that
// they are sent in, if any.
func (a *assembler) logical(m *pgoutput.LogicalMessage, msg []byte) error {
	if !m.Transactional || m.Prefix != definePrefix {
		return nil
	}
	p := a.current()
	if p == nil {
		return protocolError("transactional message outside of a transaction")
	}
	return a.keep(p, msg)
}

func (a *assembler) startBlock(m *pgoutput.StreamStart) error {
	if a.open != nil || a.block != nil {
		return protocolError("Stream Start inside a transaction")
	}
	p := a.streams[m.XID]
	switch {
	case m.First && p != nil:
		// What came under this id before was ended by a crash of the server,
		// which leaves no record of an abort, and the id came round again.
		a.release(p)
		p = nil
	case !m.First && p == nil:
		return protocolError("continued stream of unknown transaction %d", m.XID)
	}
	if p == nil {
		p = &pending{xid: m.XID, streamed: true}
		a.streams[m.XID] = p
	}
	a.block = p
	return nil
}

func (a *assembler) abort(m *pgoutput.StreamAbort) {
	p := a.streams[m.XID]
	if p == nil {
		return // nothing of it was sent
	}
	if m.SubXID != m.XID {
		p.abort(m.SubXID)
		return
	}
	delete(a.streams, m.XID)
	a.release(p)
}

// keep adds a message and moves to disk what exceeds the limits.
func (a *assembler) keep(p *pending, msg []byte) error {
	before := len(p.mem)
	p.add(msg)
	a.held += int64(len(p.mem) - before)
	switch {
	case p.file != nil:
		if len(p.mem) >= spillBuffer {
			return a.spill(p)
		}
	case int64(len(p.mem)) > a.limits.bytes || p.count > a.limits.changes:
		return a.spill(p)
	}
	if a.held > a.limits.total {
		return a.spill(a.largest())
	}
	return nil
}

func (a *assembler) spill(p *pending) error {
	n := len(p.mem)
	if err := p.spill(a.dir); err != nil {
		return err
	}
	a.held -= int64(n)
	if cap(p.mem) > 2*spillBuffer {
		p.mem = nil
	}
	return nil
}

func (a *assembler) largest() *pending {
	p := a.open
	for _, s := range a.streams {
		if p == nil || len(s.mem) > len(p.mem) {
			p = s
		}
	}
	return p
}

// release gives back what a transaction holds.
func (a *assembler) release(p *pending) {
	a.held -= int64(len(p.mem))
	if a.spare == nil && cap(p.mem) <= mostSpare {
		a.spare = p.mem[:0]
	}
	p.discard()
}

// discard releases everything.
func (a *assembler) discard() {
	if a.open != nil {
		a.release(a.open)
	}
	for _, p := range a.streams {
		a.release(p)
	}
	a.open, a.block = nil, nil
	clear(a.streams)
}

// bound returns the highest position up to which a keepalive may be believed:
// while a transaction is being sent, not beyond its commit.
func (a *assembler) bound(lsn revision.LSN) revision.LSN {
	if a.open != nil {
		return min(lsn, revision.LSN(a.open.commit))
	}
	return lsn
}
