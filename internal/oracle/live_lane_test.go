package oracle

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"
)

// liveLane is one way in which things go, or go wrong, for followers.
type liveLane struct {
	lane
	gone        bool // shapes of tables may be over
	redefined   bool // those of all columns, and answers
	unavailable bool // 503 and 504 are fair

	maxLog    int64 // bytes of the kept log, which is filled again and again; 0: enough
	smallDisk bool  // which is full now and then
	subsets   bool  // followers of changes alone load rows on the way
	storm     int   // answers that are followed and touched by one transaction
}

// stopTidemark restarts the process as an operator does.
func stopTidemark(ctx context.Context, run *run, r *rand.Rand) {
	for ctx.Err() == nil {
		run.between(ctx, r, 300, 900)
		if err := run.subject.stopChild(); err != nil {
			run.Errorf("tidemark did not end in good order: %v", err)
		}
		if err := run.subject.startChild(); err != nil {
			run.Error(err)
		}
	}
}

// redefineOften is redefine in a hurry: most definitions are nothing to followers.
func redefineOften(ctx context.Context, run *run, r *rand.Rand) {
	d := &definer{writer: &writer{Rand: r, run: run}}
	for ctx.Err() == nil {
		pause(ctx, between(r, 10, 120))
		if d.conn == nil || d.conn.IsClosed() {
			if d.connect(); d.conn == nil {
				continue
			}
		}
		d.change()
	}
	if d.conn != nil {
		_ = d.conn.Close(context.Background())
	}
}

var liveLanes = []*liveLane{
	{lane: lane{name: "live plain", asyncPercent: 15}},
	{lane: lane{name: "live truncate", asyncPercent: 15, truncates: true}, gone: true},
	{lane: lane{name: "live definitions", faults: []fault{redefineOften}, asyncPercent: 15}, redefined: true, unavailable: true},
	{lane: lane{name: "live async", asyncPercent: 90, server: map[string]string{"wal_writer_delay": "1s"}}},
	{lane: lane{name: "live standby", faults: []fault{holdCommits}, writers: 2, asyncPercent: 10}, unavailable: true},
	{lane: lane{name: "live slow log", faults: []fault{slowLog}, asyncPercent: 15, proxied: true}, unavailable: true},
	{lane: lane{name: "live walsender", faults: []fault{killConnections}, asyncPercent: 15}, unavailable: true},
	{lane: lane{name: "live slot", faults: []fault{dropSlot}, asyncPercent: 15}, gone: true, unavailable: true},
	{lane: lane{name: "live killed", faults: []fault{killTidemark}, asyncPercent: 15, child: true}, unavailable: true},
	{lane: lane{name: "live stopped", faults: []fault{stopTidemark}, asyncPercent: 15, child: true}, unavailable: true},
	{lane: lane{name: "live restart", faults: []fault{restartPostgres}, asyncPercent: 30, crashes: true}, unavailable: true},
	{lane: lane{name: "live trimmed", asyncPercent: 15, child: true}, unavailable: true, maxLog: 1 << 20},
	{lane: lane{name: "live full disk", asyncPercent: 15, readers: 4}, smallDisk: true, unavailable: true},
	{lane: lane{name: "live subsets", faults: []fault{holdCommits}, writers: 2, asyncPercent: 15}, subsets: true, unavailable: true},
	{lane: lane{name: "live storm", asyncPercent: 15, readers: 4}, storm: 300},

	{lane: lane{name: "live trimmed in memory", asyncPercent: 15, soakOnly: true}, maxLog: 256 << 10},
	{lane: lane{name: "live trimmed and truncate", truncates: true, child: true, soakOnly: true}, gone: true, unavailable: true, maxLog: 1 << 20},
	{lane: lane{name: "live trimmed and definitions", faults: []fault{redefineOften}, child: true, soakOnly: true}, redefined: true, unavailable: true, maxLog: 1 << 20},
	{lane: lane{name: "live trimmed and standby", faults: []fault{holdCommits}, writers: 2, soakOnly: true}, unavailable: true, maxLog: 512 << 10},
	{lane: lane{name: "live full disk and killed", faults: []fault{killTidemark}, child: true, soakOnly: true}, smallDisk: true, unavailable: true},
	{lane: lane{name: "live full disk and walsender", faults: []fault{killConnections}, soakOnly: true}, smallDisk: true, unavailable: true},
	{lane: lane{name: "live full disk and subsets", soakOnly: true}, smallDisk: true, subsets: true, unavailable: true},
	{lane: lane{name: "live subsets and killed", faults: []fault{holdCommits, killTidemark}, writers: 2, child: true, soakOnly: true}, subsets: true, unavailable: true},
	{lane: lane{name: "live subsets and slot", faults: []fault{dropSlot}, asyncPercent: 50, soakOnly: true}, subsets: true, gone: true, unavailable: true},
	{lane: lane{name: "live subsets and slow log", faults: []fault{slowLog, holdCommits}, writers: 2, proxied: true, soakOnly: true}, subsets: true, unavailable: true},
	{lane: lane{name: "live subsets and trimmed", faults: []fault{holdCommits}, writers: 2, child: true, soakOnly: true}, subsets: true, unavailable: true, maxLog: 1 << 20},
	{lane: lane{name: "live large storm", asyncPercent: 15, readers: 4, soakOnly: true}, storm: 3000},
	{lane: lane{name: "live storm and walsender", faults: []fault{killConnections}, soakOnly: true}, storm: 300, unavailable: true},
	{lane: lane{name: "live storm and killed", faults: []fault{killTidemark}, child: true, soakOnly: true}, storm: 300, unavailable: true},

	{lane: lane{name: "live large", asyncPercent: 15, large: true, soakOnly: true}, unavailable: true},
	{lane: lane{name: "live large and killed", faults: []fault{killTidemark}, asyncPercent: 15, child: true, large: true, soakOnly: true}, unavailable: true},
	{lane: lane{name: "live standby and killed", faults: []fault{holdCommits, killTidemark}, writers: 3, child: true, soakOnly: true}, unavailable: true},
	{lane: lane{name: "live standby and walsender", faults: []fault{holdCommits, killConnections}, writers: 3, soakOnly: true}, unavailable: true},
	{lane: lane{name: "live slow log and truncate", faults: []fault{slowLog}, truncates: true, proxied: true, soakOnly: true}, gone: true, unavailable: true},
	{lane: lane{name: "live definitions and slow log", faults: []fault{redefineOften, slowLog}, proxied: true, soakOnly: true}, redefined: true, unavailable: true},
	{lane: lane{name: "live definitions and killed", faults: []fault{redefineOften, killTidemark}, child: true, soakOnly: true}, redefined: true, unavailable: true},
	{lane: lane{name: "live truncate and killed", faults: []fault{killTidemark}, truncates: true, child: true, soakOnly: true}, gone: true, unavailable: true},
	{lane: lane{name: "live frozen", faults: []fault{freezeTidemark}, asyncPercent: 15, child: true, soakOnly: true}, unavailable: true},
	{lane: lane{name: "live restart and killed", faults: []fault{restartPostgres, killTidemark}, asyncPercent: 30, child: true, crashes: true, soakOnly: true}, unavailable: true},
	{lane: lane{name: "live async and restart", faults: []fault{restartPostgres}, asyncPercent: 95, server: map[string]string{"wal_writer_delay": "1s"}, crashes: true, soakOnly: true}, unavailable: true},
}

func common(l *liveLane) *lane { return &l.lane }

// TestLive runs every lane of followers for a moment.
func TestLive(t *testing.T) {
	seed := seedOf(t)
	some, all := chosen(liveLanes, common, true)
	for i, l := range some {
		t.Run(l.name, func(t *testing.T) {
			if all {
				t.Parallel()
			}
			executeLive(t, l, seed+uint64(i), shortRun, nil)
		})
	}
}

// TestLiveSoak runs one lane after the other, each with a new seed, for as long
// as TIDEMARK_SOAK says.
func TestLiveSoak(t *testing.T) {
	total, err := time.ParseDuration(os.Getenv("TIDEMARK_SOAK"))
	if err != nil {
		t.Skip("set TIDEMARK_SOAK to a duration such as 10m")
	}
	seed := seedOf(t)
	some, _ := chosen(liveLanes, common, false)
	end := time.Now().Add(total)
	for n := 0; len(some) > 0 && time.Now().Before(end); n++ {
		l := some[n%len(some)]
		t.Run(fmt.Sprintf("%s/%d", l.name, seed+uint64(n)), func(t *testing.T) {
			executeLive(t, l, seed+uint64(n), soakRun, nil)
		})
	}
}
