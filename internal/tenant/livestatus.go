package tenant

import (
	"time"

	"github.com/tidemarkdb/tidemark/internal/live/follow"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// LiveStatus says what is followed.
type LiveStatus struct {
	Answers follow.Stats
	Tables  *TablesStatus // nil: none may be followed
}

// TablesStatus says what is followed of tables.
type TablesStatus struct {
	Why              string // nothing can be; empty if it can
	Since            time.Time
	Shapes           table.Status
	LogBegin, LogEnd revision.LSN
	LogBytes         int64
}

// LiveStatus says what is followed; false where nothing may be.
func (t *Tenant) LiveStatus() (LiveStatus, bool) {
	if t.answers == nil {
		return LiveStatus{}, false
	}
	s := LiveStatus{Answers: t.answers.Stats()}
	if t.tables != nil {
		s.Tables = t.tables.status()
	}
	return s, true
}

func (f *followedTables) status() *TablesStatus {
	f.mu.Lock()
	s := &TablesStatus{Since: f.since}
	if f.failure != nil {
		s.Why = f.failure.Error()
	}
	f.mu.Unlock()
	select {
	case <-f.made:
	default:
		return s
	}
	s.Shapes = f.hub.Status()
	s.LogBegin, s.LogEnd, s.LogBytes = f.log.Begin(), f.log.End(), f.log.Size()
	return s
}
