package adminapi

import (
	"time"

	"github.com/tidemarkdb/tidemark/internal/tenant"
)

type liveReply struct {
	Waiting int              `json:"waiting"`
	Answers answersLive      `json:"answers"`
	Tables  *tablesLiveReply `json:"tables,omitempty"`
}

type answersLive struct {
	Followed    int    `json:"followed"`
	Differences int64  `json:"differences"`
	Refreshes   int64  `json:"refreshes"`
	Failures    int64  `json:"failures"`
	Why         string `json:"why,omitempty"` // when none can be followed
}

type tablesLiveReply struct {
	Followed bool      `json:"followed"`
	Why      string    `json:"why,omitempty"` // when they are not
	Since    time.Time `json:"since"`
	Shapes   int       `json:"shapes"`
	Handles  int       `json:"handles"`
	Tails    int64     `json:"tail_bytes"`
	Batches  int64     `json:"batches"`
	FromLog  int64     `json:"batches_from_log"`
	Log      logReply  `json:"log"`
}

type logReply struct {
	Begin string `json:"begin"`
	End   string `json:"end"`
	Bytes int64  `json:"bytes"`
}

// live says what is followed, or returns nil where nothing may be.
func (a *api) live() *liveReply {
	s, on := a.tenant.LiveStatus()
	if !on {
		return nil
	}
	out := &liveReply{
		Answers: answersLive{s.Answers.Answers, s.Answers.Differences, s.Answers.Refreshes, s.Answers.Failures, s.Answers.Why},
		Tables:  tablesLive(s.Tables),
	}
	if a.waiting != nil {
		out.Waiting = a.waiting()
	}
	return out
}

func tablesLive(s *tenant.TablesStatus) *tablesLiveReply {
	if s == nil {
		return nil
	}
	return &tablesLiveReply{
		Followed: s.Why == "", Why: s.Why, Since: s.Since,
		Shapes: s.Shapes.Shapes, Handles: s.Shapes.Handles, Tails: s.Shapes.TailBytes,
		Batches: s.Shapes.Batches, FromLog: s.Shapes.FromLog,
		Log: logReply{s.LogBegin.String(), s.LogEnd.String(), s.LogBytes},
	}
}
