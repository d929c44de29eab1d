package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	enc "github.com/tidemarkdb/tidemark/internal/pgoutput/pgoutputtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

var noon = time.Date(2024, 1, 1, 12, 0, 0, 0, time.UTC)

// offline is a session without a connection: it takes messages and calls the
// sink.
func offline(t *testing.T, known map[catalog.OID]*catalog.Relation, changes int) (*session, *recorder) {
	sink := newRecorder()
	sink.streams, sink.defines = true, true
	f := New(Options{Slot: "s"}, sink)
	f.dir.path, f.dir.prefix = t.TempDir(), "spill-"
	if known != nil {
		f.known = known
	}
	s := &session{
		feed: f, assembler: newAssembler(limits{1 << 20, 1 << 20, changes}, &f.dir),
		builder: &builder{relations: newRelations(f.known)}, xid: 1<<32 + 100,
	}
	return s, sink
}

func (s *session) feedMessages(msgs ...[]byte) error {
	for _, msg := range msgs {
		c, err := s.assembler.message(msg)
		if err != nil {
			return err
		}
		if c != nil {
			err := s.commit(context.Background(), c)
			s.assembler.release(c.pending)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *recorder) words() string {
	var b strings.Builder
	for _, rec := range r.applied {
		fmt.Fprintf(&b, "-- %d %v\n%s\n", rec.xid, rec.end, strings.Join(rec.words, "\n"))
	}
	return strings.TrimSpace(b.String())
}

var (
	shape1 = []enc.Column{{Name: "id", Type: 23, Key: true}}
	shape2 = []enc.Column{{Name: "id", Type: 23, Key: true}, {Name: "v", Type: 25}}
)

func relation(xid uint32, columns []enc.Column) []byte {
	return enc.Relation(xid, 5, "public", "t", 'd', columns...)
}

func transaction(end uint64, xid uint32, msgs ...[]byte) [][]byte {
	return append(append([][]byte{enc.Begin(end-8, noon, xid)}, msgs...), enc.Commit(end-8, end, noon))
}

// A transaction that was applied before is not applied again, but what it says
// about tables counts: the server says it once.
func TestSkip(t *testing.T) {
	old := &catalog.Relation{OID: 5, Schema: "public", Name: "t", Identity: 'd', Columns: []catalog.Column{{Name: "id", Type: 23, Key: true}}}
	s, sink := offline(t, map[catalog.OID]*catalog.Relation{5: old}, 100)
	s.covered.Store(200)
	var first *change.Transaction
	sink.onApply = func(_ context.Context, t *change.Transaction) error {
		if first == nil {
			first = t
		}
		return nil
	}
	sink.frontier = 200
	msgs := transaction(100, 1, relation(0, shape1), enc.Insert(0, 5, enc.T("1")))
	msgs = append(msgs, transaction(200, 2, enc.Insert(0, 5, enc.T("2")))...)
	msgs = append(msgs, transaction(300, 3, enc.Insert(0, 5, enc.T("3")))...)
	if err := s.feedMessages(msgs...); err != nil {
		t.Fatal(err)
	}
	if got, want := sink.words(), "-- 4294967299 0/12C\ninsert public.t (id=3)"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if first.Changes[0].Relation != old {
		t.Error("the relation is not the one that the sink knows")
	}
}

// Skipped descriptions that the sink does not know are told later, unless
// something supersedes them.
func TestSkipUnknown(t *testing.T) {
	known := map[catalog.OID]*catalog.Relation{5: {OID: 5, Schema: "public", Name: "t", Identity: 'd', Columns: []catalog.Column{{Name: "id", Type: 23, Key: true}}}}
	for _, c := range []struct {
		name string
		msgs [][]byte
		want string
	}{
		{"superseded", append(transaction(100, 1, relation(0, shape2)), transaction(150, 2, relation(0, shape1))...), "insert public.t (id=3)"},
		{"not superseded", transaction(100, 1, relation(0, shape2)), "definition public.t (id*, v) d\ninsert public.t (id=3, v=x)"},
	} {
		s, sink := offline(t, known, 100)
		s.covered.Store(200)
		row := []enc.Value{enc.T("3")}
		if c.name == "not superseded" {
			row = append(row, enc.T("x"))
		}
		if err := s.feedMessages(append(c.msgs, transaction(300, 3, enc.Insert(0, 5, row...))...)...); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(sink.applied[0].words, "\n"); got != c.want {
			t.Errorf("%s: got:\n%s", c.name, got)
		}
	}
}

// Values stay as they are when the next transaction comes.
func TestValuesAreStable(t *testing.T) {
	s, sink := offline(t, nil, 100)
	var held []*change.Transaction
	sink.onApply = func(_ context.Context, t *change.Transaction) error { held = append(held, t); return nil }
	msgs := transaction(100, 1, relation(0, shape2))
	for i := range 50 {
		v := enc.T(strings.Repeat(fmt.Sprint(i%10), i))
		msgs = append(msgs, transaction(uint64(200+100*i), 2, enc.Insert(0, 5, enc.T("1"), v), enc.Update(0, 5, 'K', []enc.Value{enc.T("1"), enc.Null}, []enc.Value{enc.T("2"), v}))...)
	}
	for _, m := range msgs {
		buf := append([]byte(nil), m...)
		if err := s.feedMessages(buf); err != nil {
			t.Fatal(err)
		}
		clear(buf)
	}
	for i, tx := range held[1:] {
		want := strings.Repeat(fmt.Sprint(i%10), i)
		if got := string(tx.Changes[0].New[1].Text); got != want {
			t.Errorf("transaction %d: %q", i, got)
		}
		if got := string(tx.Changes[1].New[1].Text); got != want || string(tx.Changes[1].Old[0].Text) != "1" {
			t.Errorf("transaction %d: %q", i, got)
		}
	}
}

// The shape changes in the middle of a transaction, with rows before and after,
// and reading it twice gives the same.
func TestShapeChangesInside(t *testing.T) {
	for _, changes := range []int{2, 100} {
		s, sink := offline(t, nil, changes)
		var twice string
		sink.onApply = func(_ context.Context, t *change.Transaction) error {
			twice = ""
			for range 2 {
				if err := t.Each(func(c *change.Change) error { twice += words(c) + "\n"; return nil }); err != nil {
					return err
				}
			}
			return nil
		}
		if err := s.feedMessages(transaction(100, 1, relation(0, shape1), enc.Insert(0, 5, enc.T("1")))...); err != nil {
			t.Fatal(err)
		}
		if err := s.feedMessages(transaction(200, 2, enc.Insert(0, 5, enc.T("2")), relation(0, shape1), relation(0, shape2),
			enc.Insert(0, 5, enc.T("3"), enc.Null), enc.Truncate(0, 0, 5))...); err != nil {
			t.Fatal(err)
		}
		once := "insert public.t (id=2)\ndefinition public.t (id*, v) d\ninsert public.t (id=3, v=null)\ntruncate public.t\n"
		if twice != once+once {
			t.Errorf("bound %d: got:\n%s", changes, twice)
		}
		if n := s.feed.status.spilledCount.Load(); (n > 0) != (changes == 2) {
			t.Errorf("bound %d: %d spilled", changes, n)
		}
	}
}

// What a failed transaction told about tables is told again.
func TestToldOnlyWhenApplied(t *testing.T) {
	known := make(map[catalog.OID]*catalog.Relation)
	for i := range 3 {
		s, sink := offline(t, known, 100)
		sink.onApply = func(context.Context, *change.Transaction) error {
			if i < 1 {
				return errors.New("no")
			}
			return nil
		}
		err := s.feedMessages(transaction(100, 1, relation(0, shape1), enc.Insert(0, 5, enc.T("1")))...)
		if (err != nil) != (i < 1) || err != nil && !errors.Is(err, ErrSink) {
			t.Fatal(err)
		}
		if i < 1 {
			continue
		}
		want := map[int]string{1: "definition public.t (id*) d\ninsert public.t (id=1)", 2: "insert public.t (id=1)"}[i]
		if got := strings.Join(sink.applied[0].words, "\n"); got != want {
			t.Errorf("attempt %d: got:\n%s", i, got)
		}
	}
}

func TestStreams(t *testing.T) {
	for _, changes := range []int{2, 100} {
		s, sink := offline(t, nil, changes)
		sink.onApply = func(_ context.Context, t *change.Transaction) error {
			if t.Spilled == nil {
				return nil
			}
			i := 0
			return t.Each(func(c *change.Change) error {
				if i++; c.Op == change.Insert && string(c.New[0].Text) >= "90" {
					return fmt.Errorf("row %s", c.New[0].Text)
				}
				return nil
			})
		}
		row := func(xid uint32, id string) []byte { return enc.Insert(xid, 5, enc.T(id)) }
		if err := s.feedMessages(
			enc.StreamStart(10, true), relation(10, shape1), row(10, "1"), row(11, "90"), row(11, "91"), enc.StreamStop(),
			enc.StreamStart(20, true), relation(20, shape1), row(20, "92"), enc.StreamStop(),
			enc.Begin(92, noon, 30), enc.Relation(0, 5, "public", "t", 'd', shape1...), row(0, "2"), enc.Commit(92, 100, noon),
			enc.StreamAbort(10, 11),
			enc.StreamStart(10, false), row(12, "3"), row(13, "93"), enc.StreamStop(),
			enc.StreamAbort(10, 13),
			enc.StreamAbort(20, 20),
			enc.StreamStart(20, true), row(20, "94"), enc.StreamStop(), // the id came round again
			enc.StreamAbort(99, 99),
			enc.StreamCommit(10, 192, 200, noon),
			enc.StreamAbort(20, 20),
		); err != nil {
			t.Fatal(err)
		}
		want := "-- 4294967326 0/64\ndefinition public.t (id*) d\ninsert public.t (id=2)\n-- 4294967306 0/C8\n"
		if changes == 2 {
			want += "spilled 2"
		} else {
			want += "insert public.t (id=1)\ninsert public.t (id=3)"
		}
		if got := sink.words(); got != want {
			t.Errorf("bound %d: got:\n%s\nwant:\n%s", changes, got, want)
		}
		if s.assembler.held != 0 || len(s.assembler.streams) != 0 {
			t.Errorf("bound %d: still held: %d bytes, %d streams", changes, s.assembler.held, len(s.assembler.streams))
		}
	}
}

func TestProtocolErrors(t *testing.T) {
	row := enc.Insert(0, 5, enc.T("1"))
	for name, msgs := range map[string][][]byte{
		"row outside":                    {row},
		"commit outside":                 {enc.Commit(1, 2, noon)},
		"begin twice":                    {enc.Begin(1, noon, 1), enc.Begin(1, noon, 1)},
		"stop outside":                   {enc.StreamStop()},
		"block inside":                   {enc.Begin(1, noon, 1), enc.StreamStart(1, true)},
		"block of unknown":               {enc.StreamStart(1, false)},
		"stream commit of unknown":       {enc.StreamCommit(1, 1, 2, noon)},
		"transactional message outside":  {enc.LogicalMessage(0, true, 1, definePrefix, "")},
		"row of unknown relation":        transaction(100, 1, row),
		"truncate of unknown relation":   transaction(100, 1, enc.Truncate(0, 0, 5)),
		"row of another width":           transaction(100, 1, relation(0, shape2), row),
		"old row of another width":       transaction(100, 1, relation(0, shape1), enc.Delete(0, 5, 'K', enc.T("1"), enc.Null)),
		"row that does not decode":       transaction(100, 1, relation(0, shape1), row[:len(row)-1]),
		"relation that does not decode":  transaction(100, 1, relation(0, shape1)[:9]),
		"message of an unknown type":     {[]byte("Z")},
		"empty message":                  {{}},
		"stream row cut before its xid":  {enc.StreamStart(1, true), []byte("I12")},
		"commit that does not decode":    {enc.Begin(1, noon, 1), []byte("C")},
		"row in a stream without its id": {enc.StreamStart(1, true), row, enc.StreamStop(), enc.StreamCommit(1, 92, 100, noon)},
	} {
		for _, changes := range []int{0, 100} {
			s, sink := offline(t, nil, changes)
			sink.onApply = func(_ context.Context, t *change.Transaction) error {
				return t.Each(func(*change.Change) error { return nil })
			}
			err := s.feedMessages(msgs...)
			var e *Error
			if !errors.As(err, &e) {
				t.Errorf("%s (bound %d): %v", name, changes, err)
			}
			s.assembler.discard()
			if len(sink.applied) != 0 {
				t.Errorf("%s: applied", name)
			}
		}
	}
}

// Messages that are none of ours, and transactions of nothing, move the
// frontier and are not applied.
func TestNothingToApply(t *testing.T) {
	s, sink := offline(t, nil, 100)
	msgs := append(transaction(100, 1), transaction(200, 2, enc.Origin(1, "o"), enc.DataType(0, 9, "", "x"),
		enc.LogicalMessage(0, true, 1, "other", "x"), enc.LogicalMessage(0, false, 1, definePrefix, "x"))...)
	if err := s.feedMessages(msgs...); err != nil {
		t.Fatal(err)
	}
	if len(sink.applied) != 0 || sink.frontier != 200 {
		t.Errorf("applied %v, frontier %v", sink.applied, sink.frontier)
	}
}

// A keepalive in the middle of a transaction is not believed beyond it.
func TestKeepaliveInside(t *testing.T) {
	a := newAssembler(limits{1 << 20, 1 << 20, 100}, nil)
	if got := a.bound(500); got != 500 {
		t.Errorf("outside: %v", got)
	}
	if _, err := a.message(enc.Begin(100, noon, 1)); err != nil {
		t.Fatal(err)
	}
	for in, want := range map[revision.LSN]revision.LSN{50: 50, 500: 100} {
		if got := a.bound(in); got != want {
			t.Errorf("inside: %v for %v", got, in)
		}
	}
}

// benchmarkDecode measures what follows the connection: messages to applied
// changes.
func BenchmarkTransactions(b *testing.B) {
	for _, rows := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", rows), func(b *testing.B) {
			f := New(Options{}, &counter{until: ^revision.LSN(0)})
			s := &session{
				feed: f, assembler: newAssembler(limits{64 << 20, 16 << 20, 50_000}, &f.dir),
				builder: &builder{relations: newRelations(f.known)},
			}
			if err := s.feedMessages(transaction(10, 1, relation(0, []enc.Column{{Name: "id", Key: true}, {Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}))...); err != nil {
				b.Fatal(err)
			}
			row := enc.Insert(0, 5, enc.T("12345"), enc.T("5c1f4a30-6a5e-4f0b-9d1c-1f2e3d4c5b6a"), enc.T("name of row 12345"), enc.T("17"), enc.T("2024-05-06 07:08:09.123456+00"))
			b.ReportAllocs()
			end := uint64(100)
			for b.Loop() {
				if err := s.feedMessages(enc.Begin(end, noon, 1)); err != nil {
					b.Fatal(err)
				}
				for range rows {
					if err := s.feedMessages(row); err != nil {
						b.Fatal(err)
					}
				}
				if err := s.feedMessages(enc.Commit(end, end+1, noon)); err != nil {
					b.Fatal(err)
				}
				end += 100
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
}
