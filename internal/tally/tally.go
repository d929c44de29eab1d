// Package tally keeps a log readable when the same thing fails for thousands at
// once: it writes the first failure, and then one line for all of an interval.
package tally

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// interval is for how long failures are counted that are like one in the log.
	interval = 10 * time.Second
	// maxKinds bounds the lines of an interval where errors differ in an address or
	// an id: those beyond it are counted together.
	maxKinds = 16
)

// Log writes failures to a log, each of those that are counted at level debug.
type Log struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*count // of which there was one in this interval
}

// count is of failures of one kind that have no line yet.
type count struct {
	level   slog.Level
	message string
	times   int
	args    []any // of the last
}

// New returns a Log that writes to log.
func New(log *slog.Logger) *Log { return &Log{log: log, kinds: map[string]*count{}} }

// Warn writes a line with the error at its end, at once if none like it was written
// in the last interval, else at its end, with how many it stands for as times.
// Failures are alike if message and error read the same.
func (l *Log) Warn(message string, err error, args ...any) {
	l.add(slog.LevelWarn, message, err, args)
}

// Error does as Warn, at its level.
func (l *Log) Error(message string, err error, args ...any) {
	l.add(slog.LevelError, message, err, args)
}

func (l *Log) add(level slog.Level, message string, err error, args []any) {
	args = append(slices.Clip(args), "err", err)
	kind := message + ": " + err.Error()
	l.mu.Lock()
	c := l.kinds[kind]
	if c == nil && len(l.kinds) >= maxKinds {
		kind = message
		c = l.kinds[kind]
	}
	if c != nil {
		c.times, c.args = c.times+1, args
		l.mu.Unlock()
		l.log.Debug(message, args...)
		return
	}
	l.open(kind, level, message)
	l.mu.Unlock()
	l.log.Log(context.Background(), level, message, args...)
}

// open begins an interval. l.mu is held.
func (l *Log) open(kind string, level slog.Level, message string) {
	l.kinds[kind] = &count{level: level, message: message}
	time.AfterFunc(interval, func() { l.tell(kind) })
}

// tell writes what was counted in the interval that ends. If there was nothing,
// the next failure of the kind is written at once again.
func (l *Log) tell(kind string) {
	l.mu.Lock()
	c := l.kinds[kind]
	delete(l.kinds, kind)
	if c.times > 0 {
		l.open(kind, c.level, c.message)
	}
	l.mu.Unlock()
	if c.times > 0 {
		l.log.Log(context.Background(), c.level, c.message, append(c.args, "times", c.times)...)
	}
}
