package tally

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sink counts the lines of a log, and what they stand for.
type sink struct {
	mu          sync.Mutex
	warn, debug int
	times       int64
	last        string
}

func (s *sink) Enabled(context.Context, slog.Level) bool { return true }
func (s *sink) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s *sink) WithGroup(string) slog.Handler            { return s }

func (s *sink) Handle(_ context.Context, r slog.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Level == slog.LevelDebug {
		s.debug++
		return nil
	}
	s.warn++
	n := int64(1)
	s.last = r.Message
	if r.Level == slog.LevelError {
		s.last = "error: " + s.last
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "times" {
			n = a.Value.Int64()
		}
		s.last += " " + a.String()
		return true
	})
	s.times += n
	return nil
}

// want says how many lines there are, and how many failures they stand for.
func (s *sink) want(t *testing.T, warn int, times int64, last string) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.warn != warn || s.times != times || last != "" && s.last != last {
		t.Errorf("%d lines of %d failures, the last %q; want %d of %d, %q", s.warn, s.times, s.last, warn, times, last)
	}
}

func TestWarn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := New(slog.New(s))
		away := errors.New("away")
		var wg sync.WaitGroup
		for i := range 10_000 {
			wg.Go(func() { l.Warn("a request failed", away, "path", "/x", "n", i/10_000) })
		}
		wg.Wait()
		s.want(t, 1, 1, "a request failed path=/x n=0 err=away")
		l.Warn("a request failed", errors.New("other"), "path", "/y")
		s.want(t, 2, 2, "a request failed path=/y err=other")
		time.Sleep(interval)
		s.want(t, 3, 10_001, "a request failed path=/x n=0 err=away times=9999")
		time.Sleep(3 * interval)
		s.want(t, 3, 10_001, "a request failed path=/x n=0 err=away times=9999")
		l.Warn("a request failed", away)
		s.want(t, 4, 10_002, "a request failed err=away")
		if s.debug != 9999 {
			t.Errorf("%d lines at level debug", s.debug)
		}
		time.Sleep(2 * interval)
	})
}

// TestWarnOn has failures that go on.
func TestWarnOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := New(slog.New(s))
		for range 6 * 100 {
			l.Warn("m", errors.New("away"))
			time.Sleep(interval / 100)
		}
		time.Sleep(interval)
		s.want(t, 7, 600, "")
		time.Sleep(interval)
	})
}

// TestWarnOfMany has errors each of which is another.
func TestWarnOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		l := New(slog.New(s))
		for i := range 1000 {
			l.Warn("m", fmt.Errorf("from port %d", i))
		}
		s.want(t, maxKinds+1, maxKinds+1, fmt.Sprintf("m err=from port %d", maxKinds))
		time.Sleep(interval)
		s.want(t, maxKinds+2, 1000, fmt.Sprintf("m err=from port 999 times=%d", 1000-maxKinds-1))
		time.Sleep(interval)
		l.Error("m", errors.New("from port 1"))
		s.want(t, maxKinds+3, 1001, "error: m err=from port 1")
		l.mu.Lock()
		held := len(l.kinds)
		l.mu.Unlock()
		if held != 1 {
			t.Errorf("%d kinds are held", held)
		}
		time.Sleep(2 * interval)
	})
}
