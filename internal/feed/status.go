package feed

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// State is one word for what a feed is doing.
type State string

// The states.
const (
	StateStarting       State = "starting"
	StateConnecting     State = "connecting"
	StateCreatingSlot   State = "creating-slot"
	StateStreaming      State = "streaming"
	StateWaitingForSlot State = "waiting-for-slot"
	StateFailed         State = "error" // and about to try again
	StateStopped        State = "stopped"
)

// Status describes a feed at one moment.
type Status struct {
	State       State
	Why         string // what it waits for or what failed
	Since       time.Time
	Slot        string
	Publication string

	Source        revision.Source
	ServerVersion int
	PID           uint32 // of the walsender
	Epoch         uint64
	EpochReason   string
	Sessions      uint64 // that reached the sink

	Received     revision.LSN // end of the last transaction or keepalive that was read
	Applied      revision.LSN // the frontier: all up to here has been applied
	Acknowledged revision.LSN // what Postgres was told
	ServerEnd    revision.LSN // how far the server said that its log goes
	LastMessage  time.Time    // when the server was last heard, by this clock
	LastCommit   time.Time    // of the last applied transaction, by the server's clock

	Transactions uint64
	Changes      uint64
	Bytes        uint64 // of the messages of applied transactions
	Queued       int    // bytes read and not yet applied
	Spilled      uint64 // bytes of transactions ever written to disk
	SpilledCount uint64 // transactions read from disk

	LastError   error
	LastErrorAt time.Time
}

// statusBoard is what the feed's goroutines write and Status reads. What moves
// with every transaction is atomic; the mutex guards the rest.
type statusBoard struct {
	received, applied, acknowledged, serverEnd atomic.Uint64
	lastMessage, lastCommit                    atomic.Int64 // Unix nanoseconds
	transactions, changes, bytes, spilledCount atomic.Uint64

	mu    sync.Mutex
	s     Status
	queue *queue
}

func (b *statusBoard) init(o Options) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s = Status{State: StateStarting, Since: time.Now(), Slot: o.Slot, Publication: o.Publication}
}

func (b *statusBoard) set(s State, why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.s.State != s {
		b.s.Since = time.Now()
	}
	b.s.State, b.s.Why = s, why
}

// connecting leaves the reason of a failure in place until there is better news.
func (b *statusBoard) connecting() {
	if s := b.state(); s != StateFailed && s != StateWaitingForSlot {
		b.set(StateConnecting, "")
	}
}

func (b *statusBoard) state() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.s.State
}

func (b *statusBoard) failed(s State, err error) {
	b.set(s, err.Error())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.LastError, b.s.LastErrorAt = err, time.Now()
}

// streaming says that a session reached the sink.
func (b *statusBoard) streaming(s Session, pid uint32) {
	b.set(StateStreaming, "")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.s.Source, b.s.ServerVersion, b.s.PID = s.Source, s.ServerVersion, pid
	b.s.Epoch, b.s.EpochReason = s.Epoch, s.Reason
	b.s.Sessions++
}

func (b *statusBoard) attach(q *queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = q
}

func (b *statusBoard) read(dir *spillDir) Status {
	b.mu.Lock()
	s, q := b.s, b.queue
	b.mu.Unlock()
	if s.State == "" {
		s.State = StateStarting
	}
	if q != nil {
		s.Queued = q.size()
	}
	s.Received = revision.LSN(b.received.Load())
	s.Applied = revision.LSN(b.applied.Load())
	s.Acknowledged = revision.LSN(b.acknowledged.Load())
	s.ServerEnd = revision.LSN(b.serverEnd.Load())
	s.LastMessage = moment(b.lastMessage.Load())
	s.LastCommit = moment(b.lastCommit.Load())
	s.Transactions, s.Changes, s.Bytes = b.transactions.Load(), b.changes.Load(), b.bytes.Load()
	s.Spilled, s.SpilledCount = dir.bytes.Load(), b.spilledCount.Load()
	return s
}

func moment(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// raise sets v to n unless it is there already. Each v has one writer.
func raise(v *atomic.Uint64, n revision.LSN) {
	if uint64(n) > v.Load() {
		v.Store(uint64(n))
	}
}
