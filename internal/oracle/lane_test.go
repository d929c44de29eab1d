package oracle

import (
	"context"
	"maps"
	"math/rand/v2"
	"time"
)

// fault disturbs a run until ctx ends, and heals what it did before it returns.
type fault func(ctx context.Context, run *run, r *rand.Rand)

// lane is one way in which things go, or go wrong.
type lane struct {
	name   string
	faults []fault

	writers      int // besides those of every run
	readers      int // likewise; for lanes in which they wait much
	asyncPercent int // transactions that do not wait to be durable
	truncates    bool
	large        bool // transactions of thousands of changes
	few          bool // endpoints, which all are at all the time

	child   bool // tidemark is a process of its own
	proxied bool // its connections go through a proxy
	server  map[string]string

	inexact     bool // many answers have no exact position
	unavailable bool // 503 and 504 are fair
	crashes     bool // what was acknowledged asynchronously may be lost
	soakOnly    bool // too slow, or too much of the same, for every run
}

const (
	writePause = 8 * time.Millisecond // at most, between two transactions of a writer
	readPause  = 6 * time.Millisecond // at most, between two requests of a reader
)

var lanes = []*lane{
	{name: "plain", asyncPercent: 15},
	{name: "contended", asyncPercent: 15, writers: 4, readers: 4, few: true},
	{name: "large", asyncPercent: 15, readers: 4, large: true, few: true, unavailable: true, soakOnly: true},
	{name: "truncate", asyncPercent: 15, truncates: true},
	{name: "async", asyncPercent: 90, server: map[string]string{"wal_writer_delay": "1s"}},
	{name: "standby", faults: []fault{holdCommits}, writers: 3, readers: 4, asyncPercent: 10, inexact: true, unavailable: true},
	{name: "definitions", faults: []fault{redefine}, readers: 4, asyncPercent: 15, unavailable: true},
	{name: "slow log", faults: []fault{slowLog}, readers: 8, asyncPercent: 15, proxied: true, inexact: true, unavailable: true},
	{name: "walsender", faults: []fault{killConnections}, asyncPercent: 15, inexact: true, unavailable: true},
	{name: "slot", faults: []fault{dropSlot}, asyncPercent: 15, inexact: true, unavailable: true},
	{name: "killed", faults: []fault{killTidemark}, asyncPercent: 15, child: true, inexact: true, unavailable: true},
	{name: "restart", faults: []fault{restartPostgres}, asyncPercent: 30, inexact: true, unavailable: true, crashes: true},

	{name: "frozen", faults: []fault{freezeTidemark}, asyncPercent: 15, child: true, inexact: true, unavailable: true, soakOnly: true},
	{name: "standby and walsender", faults: []fault{holdCommits, killConnections}, writers: 3, readers: 4, inexact: true, unavailable: true, soakOnly: true},
	{name: "standby and slot", faults: []fault{holdCommits, dropSlot}, writers: 3, readers: 4, inexact: true, unavailable: true, soakOnly: true},
	{name: "standby and killed", faults: []fault{holdCommits, killTidemark}, writers: 3, readers: 4, child: true, inexact: true, unavailable: true, soakOnly: true},
	{name: "standby and definitions", faults: []fault{holdCommits, redefine}, writers: 3, readers: 4, inexact: true, unavailable: true, soakOnly: true},
	{name: "standby and slow log", faults: []fault{holdCommits, slowLog}, writers: 3, readers: 8, proxied: true, inexact: true, unavailable: true, soakOnly: true},
	{name: "definitions and slow log", faults: []fault{redefine, slowLog}, readers: 8, asyncPercent: 15, proxied: true, inexact: true, unavailable: true, soakOnly: true},
	{name: "async and restart", faults: []fault{restartPostgres}, asyncPercent: 95, server: map[string]string{"wal_writer_delay": "1s"}, inexact: true, unavailable: true, crashes: true, soakOnly: true},
	{name: "restart and killed", faults: []fault{restartPostgres, killTidemark}, asyncPercent: 30, child: true, inexact: true, unavailable: true, crashes: true, soakOnly: true},
}

func (l *lane) settings() map[string]string {
	all := map[string]string{"deadlock_timeout": "50ms"}
	maps.Copy(all, l.server)
	return all
}
