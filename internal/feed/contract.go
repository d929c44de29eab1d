package feed

import (
	"context"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Session is one connection to the log.
type Session struct {
	Source revision.Source
	// Start is the position from which the session delivers: every transaction
	// that ends after it comes, none that ends at or before it needs to.
	Start revision.LSN
	// Written is how far the database had written its log when the session began:
	// whoever knows of something behind it knows another log.
	Written revision.LSN
	// Epoch counts from 1 in this process. It grows whenever what came before
	// does not join up with what comes now; Reason then says why.
	Epoch  uint64
	Reason string
	// ServerVersion is server_version_num, such as 150018.
	ServerVersion int
}

// Sink receives the log. The calls come one at a time, in log order, each after
// the one before it has returned, though not always from the same goroutine.
// Nothing is acknowledged to Postgres before the call that covers it returned
// nil.
type Sink interface {
	// Connected is called before the first transaction of every session. An
	// error ends the session; Disconnected is then not called.
	Connected(ctx context.Context, s Session) error
	// Apply takes one transaction, in commit order.
	Apply(ctx context.Context, t *change.Transaction) error
	// Advance says that every transaction that ends at or before lsn has been
	// applied.
	Advance(lsn revision.LSN)
	// Disconnected says that the session ended and why.
	Disconnected(err error)
}
