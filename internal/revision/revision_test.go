package revision

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestLSN(t *testing.T) {
	for _, s := range []string{"0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"} {
		l, err := ParseLSN(s)
		if err != nil || l.String() != s {
			t.Errorf("%s: %s, %v", s, l, err)
		}
	}
	for _, s := range []string{"", "1", "1/", "/1", "x/1", "100000000/1", "1/2/3", "-1/1"} {
		if l, err := ParseLSN(s); err == nil {
			t.Errorf("%q is %s", s, l)
		}
	}
}

func TestWiden(t *testing.T) {
	for _, tt := range []struct {
		x    uint32
		near XID
		want XID
	}{
		{5, 7, 5}, {7, 5, 7}, {3, 1<<32 - 2, 1<<32 + 3}, {1<<32 - 3, 1<<32 + 5, 1<<32 - 3}, {9, 5<<32 + 9, 5<<32 + 9},
	} {
		if got := Widen(tt.x, tt.near); got != tt.want {
			t.Errorf("Widen(%d, %d) = %d, want %d", tt.x, tt.near, got, tt.want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		x := XID(rapid.Uint64Range(1<<31, 1<<62).Draw(t, "x"))
		near := XID(int64(x) + rapid.Int64Range(-1<<31+1, 1<<31-1).Draw(t, "distance"))
		if got := Widen(uint32(x), near); got != x {
			t.Fatalf("Widen(%d, %d) = %d", uint32(x), near, got)
		}
	})
}

func TestSnapshot(t *testing.T) {
	s, err := ParseSnapshot("10:20:12,15")
	if err != nil || s.String() != "10:20:12,15" {
		t.Fatal(s, err)
	}
	for x, want := range map[XID]bool{9: true, 10: true, 12: false, 13: true, 15: false, 19: true, 20: false, 99: false} {
		if s.Contains(x) != want {
			t.Errorf("%s holds %d: %v", s, x, !want)
		}
	}
	if s, err := ParseSnapshot("10:10:"); err != nil || s.Contains(10) || !s.Contains(9) {
		t.Error(s, err)
	}
	for _, bad := range []string{"", "1", "1:2", "a:b:", "1:2:x", "1:2:3,", "1:2:3:4"} {
		if _, err := ParseSnapshot(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func drawToken(t *rapid.T) Token {
	tok := Token{
		Kind:   TokenKind(rapid.IntRange(0, 2).Draw(t, "kind")),
		Source: Source{rapid.Uint64().Draw(t, "system"), rapid.Uint32().Draw(t, "timeline")},
		LSN:    LSN(rapid.Uint64().Draw(t, "lsn")),
	}
	if tok.Kind == KindTransaction {
		tok.XID = XID(rapid.Uint64().Draw(t, "xid"))
	}
	return tok
}

func TestTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tok := drawToken(t)
		s := tok.String()
		if len(s) >= 100 || strings.ContainsAny(s, "+/= \"") {
			t.Fatalf("%q is too long or not URL-safe", s)
		}
		got, err := ParseToken(s)
		if err != nil || got != tok {
			t.Fatalf("%+v became %+v: %v", tok, got, err)
		}
		// Whatever one character is changed to, the token is not another one.
		i := rapid.IntRange(0, len(s)-1).Draw(t, "at")
		c := rapid.SampledFrom([]byte("AZaz09-_.")).Draw(t, "to")
		if s[i] != c {
			broken := s[:i] + string(c) + s[i+1:]
			if got, err := ParseToken(broken); err == nil {
				t.Fatalf("%q was read as %+v", broken, got)
			} else if !errors.Is(err, ErrTokenMalformed) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParseToken(f *testing.F) {
	f.Add(Token{Source: Source{7, 1}, LSN: 99}.String())
	f.Add(Token{Kind: KindTransaction, Source: Source{7, 1}, LSN: 99, XID: 1 << 40}.String())
	f.Add("tm1")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := ParseToken(s)
		if err == nil && tok.String() != s {
			t.Fatalf("%q was read as %q", s, tok)
		}
	})
}

func TestCompare(t *testing.T) {
	src := Source{7, 1}
	pos := func(l LSN) Token { return Token{Source: src, LSN: l} }
	tx := func(x XID, l LSN) Token { return Token{Kind: KindTransaction, Source: src, XID: x, LSN: l} }
	for _, tt := range []struct {
		a, b Token
		want Order
	}{
		{pos(1), pos(2), Before},
		{pos(2), pos(2), Same},
		{tx(5, 10), tx(5, 12), Same},
		{tx(5, 10), tx(6, 10), Unordered},
		{tx(5, 10), pos(10), After},
		{tx(5, 10), pos(11), Unordered},
		{pos(9), tx(5, 10), Before},
	} {
		got, err := Compare(tt.a, tt.b)
		if err != nil || got != tt.want {
			t.Errorf("%+v against %+v: %s, %v", tt.a, tt.b, got, err)
		}
		back, _ := Compare(tt.b, tt.a)
		if tt.want != Unordered && back != -tt.want {
			t.Errorf("%+v against %+v, turned round: %s", tt.a, tt.b, back)
		}
	}
	if _, err := Compare(pos(1), Token{Source: Source{7, 2}}); !errors.Is(err, ErrForeignToken) {
		t.Error(err)
	}
}

func TestParseConsistency(t *testing.T) {
	tok := Token{Source: Source{7, 1}, LSN: 99}
	for s, want := range map[string]Requirement{
		"":                            {},
		"minimize_latency":            {},
		"fully_consistent":            {Level: FullyConsistent},
		` fully_consistent; later=1 `: {Level: FullyConsistent},
		`at_least_as_fresh; token="` + tok.String() + `"`: {AtLeastAsFresh, tok},
		`at_exact_snapshot;token="` + tok.String() + `"`:  {AtExactSnapshot, tok},
	} {
		got, err := ParseConsistency(s)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%q: %v %s", s, err, d)
		}
	}
	for s, want := range map[string]error{
		"Fully_Consistent":                       ErrConsistencyMalformed,
		`"fully_consistent"`:                     ErrConsistencyMalformed,
		"fully_consistent, minimize_latency":     ErrConsistencyMalformed,
		"at_least_as_fresh":                      ErrConsistencyMalformed,
		"at_exact_snapshot; token=abc":           ErrConsistencyMalformed,
		`minimize_latency; token="x"`:            ErrConsistencyMalformed,
		`at_least_as_fresh; token="tm1nonsense"`: ErrTokenMalformed,
		`at_least_as_fresh; token=""`:            ErrTokenMalformed,
	} {
		if got, err := ParseConsistency(s); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}

func FuzzParseConsistency(f *testing.F) {
	f.Add(`at_least_as_fresh; token="` + Token{Source: Source{7, 1}}.String() + `"`)
	f.Add("fully_consistent;a=?1")
	f.Fuzz(func(t *testing.T, s string) {
		req, err := ParseConsistency(s)
		if err != nil {
			if req != (Requirement{}) {
				t.Fatalf("%q: an error and %+v", s, req)
			}
			return
		}
		if req.Level == AtLeastAsFresh || req.Level == AtExactSnapshot {
			back, err := ParseConsistency(fmt.Sprintf("%s; token=%q", req.Level, req.Token.String()))
			if err != nil || back != req {
				t.Fatalf("%q: %+v became %+v, %v", s, req, back, err)
			}
		}
	})
}

func TestFrontier(t *testing.T) {
	f := NewFrontier(Source{7, 1}, 10)
	ctx, cancel := context.WithCancel(context.Background())
	if err := f.Wait(ctx, 10); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			at := LSN(11 + n%25)
			if err := f.Wait(ctx, at); err != nil {
				t.Error(err)
			}
			if f.Load() < at {
				t.Errorf("woken at %s for %s", f.Load(), at)
			}
		}()
	}
	for l := LSN(5); l <= 40; l += 3 {
		f.Advance(l)
	}
	wg.Wait()
	if f.Load() != 38 {
		t.Errorf("the frontier is at %s", f.Load())
	}
	errs := make(chan error, 2)
	go func() { errs <- f.Wait(ctx, 99) }()
	<-f.Wanted()
	for {
		if at, waiting := f.Highest(); waiting && at == 99 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, waiting := f.Highest(); waiting {
		t.Error("somebody who gave up is still waiting")
	}
	gone := errors.New("gone")
	go func() { errs <- f.Wait(context.Background(), 99) }()
	for _, waiting := f.Highest(); !waiting; _, waiting = f.Highest() {
		time.Sleep(time.Millisecond)
	}
	f.Fail(gone)
	if err := <-errs; err != gone {
		t.Error(err)
	}
	if err := f.Wait(context.Background(), 99); err != gone {
		t.Error(err)
	}
}

// standing is a primary that stands where the test says.
type standing struct{ pos []Position }

func (s *standing) Ask(context.Context) (Position, error) {
	p := s.pos[0]
	if len(s.pos) > 1 {
		s.pos = s.pos[1:]
	}
	return p, nil
}

func TestGate(t *testing.T) {
	src := Source{7, 1}
	snap := func(s string) Snapshot { v, _ := ParseSnapshot(s); return v }
	pos := func(l LSN) Requirement { return Requirement{AtLeastAsFresh, Token{Source: src, LSN: l}} }
	tx := func(x XID, level Level) Requirement {
		return Requirement{level, Token{Kind: KindTransaction, Source: src, XID: x, LSN: 60}}
	}
	late := func(x XID) Requirement {
		return Requirement{AtExactSnapshot, Token{Kind: KindTransaction, Source: src, XID: x, LSN: 75}}
	}
	here := Position{src, snap("50:60:50,55"), 100, 100}
	for _, tt := range []struct {
		name string
		req  Requirement
		pos  []Position
		want Passage
		err  error
	}{
		{"nothing is asked", Requirement{}, nil, Passage{}, nil},
		{"passed already", pos(80), nil, Passage{Level: AtLeastAsFresh, Position: 80}, nil},
		{"another database", Requirement{AtLeastAsFresh, Token{Source: Source{8, 1}}}, nil, Passage{}, ErrForeignToken},
		{"another timeline", Requirement{AtLeastAsFresh, Token{Source: Source{7, 2}}}, nil, Passage{}, ErrForeignToken},
		{"not written yet", pos(101), []Position{here}, Passage{}, ErrFutureToken},
		{"written and not applied", pos(99), []Position{here}, Passage{}, ErrNotReached},
		{"a bound is no snapshot", Requirement{AtExactSnapshot, Token{Kind: KindBound, Source: src, LSN: 1}}, nil, Passage{}, ErrBoundToken},
		{"known transaction", tx(42, AtExactSnapshot), nil, Passage{Level: AtExactSnapshot, Position: 70, XID: 42}, nil},
		{"transaction under way", tx(55, AtLeastAsFresh), []Position{here}, Passage{}, ErrNotReached},
		{"transaction of the future", tx(70, AtLeastAsFresh), []Position{{src, snap("50:60:"), 50, 50}}, Passage{}, ErrFutureToken},
		{"transaction that a crash undid", late(42), []Position{{src, snap("50:60:"), 80, 80}}, Passage{}, ErrForgotten},
		{"transaction that a crash has just undone", late(42), []Position{{src, snap("50:60:"), 74, 74}}, Passage{}, ErrFutureToken},
		{"transaction over, to no purpose", tx(57, AtLeastAsFresh), []Position{{src, snap("50:60:50"), 80, 80}}, Passage{Level: AtLeastAsFresh, Position: 80, XID: 57}, nil},
		{"transaction forgotten", tx(57, AtExactSnapshot), []Position{{src, snap("50:60:50"), 80, 80}}, Passage{}, ErrForgotten},
		{"everything, of another log", Requirement{Level: FullyConsistent}, []Position{{Source{7, 2}, snap("50:60:"), 80, 80}}, Passage{}, ErrSplit},
		{"everything, reached", Requirement{Level: FullyConsistent}, []Position{{src, snap("50:60:"), 80, 80}}, Passage{Level: FullyConsistent, Position: 80}, nil},
		{"everything, not reached", Requirement{Level: FullyConsistent}, []Position{here}, Passage{Level: FullyConsistent, Position: 100, Unreached: true}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := &Gate{
				Frontier: NewFrontier(src, 80), Primary: &standing{tt.pos}, Patience: 20 * time.Millisecond,
				Committed: func(x XID) (LSN, bool) { return 70, x == 42 },
			}
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			got, err := g.Pass(ctx, tt.req)
			if !errors.Is(err, tt.err) || err == nil && got != tt.want {
				t.Errorf("%+v, %v; want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}
