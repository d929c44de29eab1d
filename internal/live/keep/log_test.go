package keep

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

var everything = func(*catalog.Relation) bool { return true }

func items(oid catalog.OID) *catalog.Relation {
	return &catalog.Relation{OID: oid, Schema: "public", Name: fmt.Sprintf("items%d", oid), Identity: catalog.IdentityFull, Columns: []catalog.Column{
		{Name: "id", Type: 20, Key: true}, {Name: "name", Type: 25, Key: true}, {Name: "n", Type: 20, Key: true},
	}}
}

func text(format string, args ...any) change.Value {
	return change.Value{Kind: change.Text, Text: fmt.Appendf(nil, format, args...)}
}

func insert(rel *catalog.Relation, id int) change.Change {
	return change.Change{Op: change.Insert, Relation: rel, New: change.Row{text("%d", id), text("name of %d", id), text("%d", id%7)}}
}

// TestWhileAppending reads, scans and syncs while the log grows, rolls and is
// trimmed.
func TestWhileAppending(t *testing.T) {
	o := Options{Dir: t.TempDir(), MaxBytes: 200_000, SegmentBytes: 8_000}
	l := openLog(t, o)
	l.Continue(source, 0)
	rels := []*catalog.Relation{items(1), items(2), items(3)}
	const last = 20_000
	var visible atomic.Uint64
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			tables := map[catalog.OID]bool{1: true, 2: reader%2 == 0}
			after := revision.LSN(0)
			for after < last {
				upTo := revision.LSN(visible.Load())
				begin := l.Begin()
				expect := after
				give := func(end revision.LSN) error {
					for expect++; expect%3 == 0 || expect%3 == 2 && !tables[2]; expect++ {
					}
					if end != expect {
						return fmt.Errorf("%d instead of %d", end, expect)
					}
					return nil
				}
				var err error
				if reader < 2 {
					err = l.Read(context.Background(), tables, after, upTo, func(tx *Tx) (bool, error) {
						n := 0
						err := tx.Each(0, tables, func(_ uint64, c *change.Change) (bool, error) {
							n++
							if want := fmt.Sprint(uint64(tx.End)); string(c.New[0].Text) != want || c.Relation.OID != catalog.OID(tx.End%3)%3 {
								return false, fmt.Errorf("%s instead of %s", c.New[0].Text, want)
							}
							return true, nil
						})
						if err != nil || n != 1+int(tx.End%5) {
							return false, fmt.Errorf("%d changes: %w", n, err)
						}
						return true, give(tx.End)
					})
				} else {
					var bad error
					err = l.Scan(tables, after, upTo, func(_ revision.XID, end revision.LSN) bool {
						bad = give(end)
						return bad == nil
					})
					if err == nil {
						err = bad
					}
				}
				switch {
				case errors.Is(err, ErrTrimmed):
					if after >= begin && l.Begin() == begin {
						t.Errorf("after %d: %v", after, err)
						return
					}
					after = l.Begin()
				case err != nil:
					t.Error(err)
					return
				default:
					after = upTo
				}
			}
		})
	}
	wg.Go(func() {
		before := revision.LSN(0)
		for before < last {
			at, err := l.Sync()
			if err != nil || at < before || at > l.End() {
				t.Errorf("synced %d, then %d: %v", before, at, err)
				return
			}
			before = at
		}
	})
	for i := revision.LSN(1); i <= last; i++ {
		tx := &change.Transaction{XID: revision.XID(i), End: i, Commit: i - 1}
		for range 1 + i%5 {
			tx.Changes = append(tx.Changes, insert(rels[(i+2)%3], int(i)))
		}
		if err := l.Append(tx, everything); err != nil {
			t.Fatal(err)
		}
		visible.Store(uint64(i))
	}
	wg.Wait()
	if l.Begin() == 0 {
		t.Fatal("nothing was trimmed")
	}
}

// TestReaderKeepsItsSegment: what a reader is in goes on although the log has
// dropped it.
func TestReaderKeepsItsSegment(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir(), MaxBytes: 20_000, SegmentBytes: 5_000})
	l.Continue(source, 0)
	rel := items(1)
	next := revision.LSN(0)
	grow := func(n int) {
		for range n {
			next++
			if err := l.Append(&change.Transaction{End: next, Changes: []change.Change{insert(rel, int(next))}}, everything); err != nil {
				t.Fatal(err)
			}
		}
	}
	grow(200)
	seen, begin := revision.LSN(0), l.Begin()
	seen = begin
	err := l.Read(context.Background(), nil, begin, next, func(tx *Tx) (bool, error) {
		if tx.End != seen+1 {
			t.Fatalf("%d after %d", tx.End, seen)
		}
		if seen++; seen == begin+3 {
			grow(2000)
		}
		return true, nil
	})
	if !errors.Is(err, ErrTrimmed) || seen < begin+10 {
		t.Fatal(seen, err)
	}
	l.Continue(revision.Source{SystemID: 78}, 5)
	if l.Begin() != 5 || l.End() != 5 || l.Source().SystemID != 78 {
		t.Fatal(l.Begin(), l.End())
	}
}

// TestMillionRows appends a transaction that is not in memory, in bounded memory,
// and shows it to readers only when it is whole.
func TestMillionRows(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	l := openLog(t, o)
	l.Continue(source, 0)
	rel := items(1)
	if err := l.Append(&change.Transaction{End: 1, Changes: []change.Change{insert(rel, 1)}}, everything); err != nil {
		t.Fatal(err)
	}
	const rows = 1_000_000
	count := func(l *Log, from uint64) (n int) {
		err := l.Read(context.Background(), map[catalog.OID]bool{1: true}, 1, 10, func(tx *Tx) (bool, error) {
			err := tx.Each(from, nil, func(i uint64, c *change.Change) (bool, error) {
				if i%1000 == 0 && string(c.New[0].Text) != fmt.Sprint(i) || i != from+uint64(n) {
					return false, fmt.Errorf("%d is %s", i, c.New[0].Text)
				}
				n++
				return true, nil
			})
			return true, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var most uint64
	failAt := rows / 2
	tx := &change.Transaction{End: 10, Count: rows, Spilled: func(yield func(*change.Change) error) error {
		c := insert(rel, 0)
		for i := range rows {
			if i == failAt {
				return errors.New("the spilled transaction cannot be read")
			}
			c.New[0] = text("%d", i)
			if err := yield(&c); err != nil {
				return err
			}
			if i%100_000 == 0 {
				if l.End() != 1 || count(l, 0) != 0 {
					t.Fatal("half of a transaction is visible")
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
				if _, err := l.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		return nil
	}}
	size := l.Size()
	if err := l.Append(tx, everything); err == nil {
		t.Fatal("no error")
	}
	if info, err := os.Stat(segmentFiles(t, o.Dir)[0]); err != nil || info.Size() != size {
		t.Fatal(info.Size(), size, err)
	}
	failAt = -1
	if err := l.Append(tx, everything); err != nil {
		t.Fatal(err)
	}
	if most > 40<<20 {
		t.Fatalf("%d MiB of memory", most>>20)
	}
	for _, from := range []uint64{0, 1, rows / 2, rows - 1, rows} {
		if n := count(l, from); n != rows-int(from) {
			t.Fatal(from, n)
		}
	}
	start := time.Now()
	for i := range uint64(1000) { // as batches of a chunk do
		err := l.Read(context.Background(), nil, 1, 10, func(tx *Tx) (bool, error) {
			return false, tx.Each(i*999, nil, func(at uint64, _ *change.Change) (bool, error) { return false, nil })
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s to find a place inside, %d bytes", time.Since(start)/1000, l.Size())
	l.Close()
	l = openLog(t, o)
	if n := count(l, 0); n != rows {
		t.Fatal(n)
	}
}

// TestDescriptionBetweenPieces: a description at the end of a piece has the number
// of the change with which the next one begins.
func TestDescriptionBetweenPieces(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir()})
	l.Continue(source, 0)
	rel := items(1)
	between := 0
	for i := range 300 {
		long := insert(rel, 1)
		long.New[1] = change.Value{Kind: change.Text, Text: make([]byte, pieceBytes-300+i)}
		tx := &change.Transaction{End: revision.LSN(i + 1), Changes: []change.Change{
			long, {Op: change.Define, Relation: rel}, {Op: change.Define, Relation: rel}, insert(rel, 2), long, insert(rel, 3),
		}}
		if err := l.Append(tx, everything); err != nil {
			t.Fatal(err)
		}
		err := l.Read(context.Background(), nil, revision.LSN(i), revision.LSN(i+1), func(tx *Tx) (bool, error) {
			if len(tx.pieces) > 1 && tx.pieces[1].first == 1 {
				between++
			}
			for from := range uint64(5) {
				var got []uint64
				if err := tx.Each(from, nil, func(i uint64, c *change.Change) (bool, error) {
					got = append(got, i)
					return true, nil
				}); err != nil {
					return false, err
				}
				want := []uint64{0, 1, 1, 1, 2, 3}
				for len(want) > 0 && want[0] < from {
					want = want[1:]
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%d from %d: %v", i, from, got)
				}
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if between == 0 {
		t.Fatal("no description stood between two pieces")
	}
}

// TestNumber: changes are numbered alike by Number and by Each.
func TestNumber(t *testing.T) {
	g := newGenerator(3, 4)
	l := openLog(t, Options{Dir: t.TempDir()})
	l.Continue(source, g.lsn)
	for range 50 {
		tx := g.sized(8)
		if err := l.Append(tx, wanted); err != nil {
			t.Fatal(err)
		}
		var want []string
		Number(spilled(tx), func(i uint64, c *change.Change) error {
			if c.Relation == nil || wanted(c.Relation) {
				want = append(want, image(i, c))
			}
			return nil
		})
		if !slices.Equal(want, naive(tx, 0, nil)) {
			t.Fatal(want)
		}
	}
}

// TestLargerThanTheLog: a transaction that does not fit empties the log, which
// goes on after it.
func TestLargerThanTheLog(t *testing.T) {
	o := Options{Dir: t.TempDir(), MaxBytes: 2 << 20}
	l := openLog(t, o)
	l.Continue(source, 0)
	rel := items(1)
	tx := func(end revision.LSN, rows int) *change.Transaction {
		return &change.Transaction{End: end, Spilled: func(yield func(*change.Change) error) error {
			for i := range rows {
				c := insert(rel, i)
				if err := yield(&c); err != nil {
					return err
				}
				if l.Size() > o.MaxBytes {
					t.Fatal(l.Size())
				}
			}
			return nil
		}}
	}
	for i, rows := range []int{5, 5, 200_000, 5, 20_000, 20_000, 20_000} {
		if err := l.Append(tx(revision.LSN(i+1), rows), everything); err != nil {
			t.Fatal(err)
		}
		if l.End() != revision.LSN(i+1) || rows > 100_000 && l.Begin() != l.End() {
			t.Fatal(l.Begin(), l.End())
		}
	}
	if l.Begin() < 3 || l.Begin() > 6 {
		t.Fatal(l.Begin())
	}
	l.Close()
	if l = openLog(t, o); l.End() != 7 {
		t.Fatal(l.End())
	}
}

// TestFailedSync: after it nothing counts as durable until the log begins anew.
func TestFailedSync(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	l := openLog(t, o)
	l.Continue(source, 7)
	if at, err := l.Sync(); at != 7 || err != nil {
		t.Fatal(at, err)
	}
	l.fsync = func(*os.File) error { return syscall.EIO }
	rel := items(1)
	if err := l.Append(&change.Transaction{End: 8, Changes: []change.Change{insert(rel, 1)}}, everything); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	l.fsync = (*os.File).Sync
	if _, err := l.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := l.Append(&change.Transaction{End: 9, Changes: []change.Change{insert(rel, 1)}}, everything); !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
	if joined, err := l.Continue(source, 8); joined || err != nil {
		t.Fatal(joined, err)
	}
	if at, err := l.Sync(); at != 8 || err != nil {
		t.Fatal(at, err)
	}
}

// TestRestartWhileSyncing: what is promised then is of the log that began anew.
func TestRestartWhileSyncing(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir()})
	l.Continue(source, 1000)
	l.fsync = func(f *os.File) error {
		l.fsync = (*os.File).Sync
		return l.Restart(source, 10)
	}
	if at, err := l.Sync(); at != 10 || err != nil {
		t.Fatal(at, err)
	}
}

func TestClosed(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir()})
	if err := l.Append(&change.Transaction{End: 1}, everything); err == nil {
		t.Fatal("appended to a log that begins nowhere")
	}
	if at, err := l.Sync(); at != 0 || err != nil {
		t.Fatal(at, err)
	}
	l.Continue(source, 0)
	l.Close()
	l.Close()
	_, syncErr := l.Sync()
	_, continueErr := l.Continue(source, 0)
	for _, err := range []error{
		l.Append(&change.Transaction{End: 1}, everything), syncErr, continueErr, l.Restart(source, 0),
		l.Read(context.Background(), nil, 0, 9, nil), l.Scan(nil, 0, 9, nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
}

func TestMiddle(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir(), MaxBytes: 100_000, SegmentBytes: 5_000})
	l.Continue(source, 0)
	rel := items(1)
	for i := range revision.LSN(5000) {
		if err := l.Append(&change.Transaction{End: i + 1, Changes: []change.Change{insert(rel, 1)}}, everything); err != nil {
			t.Fatal(err)
		}
		if i == 100 && l.Middle() != 0 {
			t.Fatal(l.Middle())
		}
	}
	if m := float64(l.End()-l.Middle()) / float64(l.End()-l.Begin()); m < 0.4 || m > 0.65 {
		t.Fatal(m)
	}
}
