package keep

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

var seeds = flag.Int("keep.seeds", 25, "how many random histories")

// TestModel runs random histories, with reopening, failed writes, trimming and beginning
// anew, and compares the log with the transactions that went in.
func TestModel(t *testing.T) {
	for seed := range *seeds {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { history(t, uint64(seed)) }) {
			return
		}
	}
}

func history(t *testing.T, seed uint64) {
	g := newGenerator(seed, 1+int(seed%7))
	g.huge = seed%20 == 4
	o := Options{Dir: t.TempDir(), MaxBytes: 8_000, SegmentBytes: 900}
	if g.huge {
		o.MaxBytes, o.SegmentBytes = 12<<20, 3<<20
	}
	if seed%3 == 0 {
		o.MaxBytes = 100 << 20
	}
	l := openLog(t, o)
	var model []*change.Transaction // appended since the log began
	var full bool                   // the disk is
	failing := func(f *os.File, b []byte, off int64) (int, error) {
		if full {
			n, _ := f.WriteAt(b[:g.r.IntN(len(b)+1)], off)
			return n, errors.New("full")
		}
		return f.WriteAt(b, off)
	}
	l.write = failing
	begin := func(joined bool) {
		if l.Begin() != g.lsn || l.End() != g.lsn || joined {
			t.Fatalf("begins anew at %s with (%s, %s]", g.lsn, l.Begin(), l.End())
		}
		model = nil
	}
	joined, err := l.Continue(source, g.lsn)
	if err != nil {
		t.Fatal(err)
	}
	begin(joined)
	var synced revision.LSN
	trimmed := false
	for range 300 {
		event := g.r.IntN(40)
		if seed%2 == 0 && event > 2 {
			event = 5 // nothing fails, and the log grows old
		}
		switch event {
		case 0:
			end, begins := l.End(), l.Begin()
			l.Close()
			l = openLog(t, o)
			l.write = failing
			if l.End() > end || l.End() < synced || l.Begin() != begins {
				t.Fatalf("(%s, %s] was opened as (%s, %s], synced %s", begins, end, l.Begin(), l.End(), synced)
			}
			if joined, err := l.Continue(source, l.End()-revision.LSN(g.r.IntN(2))); !joined || err != nil {
				t.Fatal(joined, err)
			}
			l.Cover(g.lsn)
		case 1:
			g.lsn += revision.LSN(g.r.IntN(100))
			l.Cover(g.lsn)
			if l.End() != g.lsn {
				t.Fatal(l.End(), g.lsn)
			}
		case 2:
			if synced, err = l.Sync(); err != nil || synced != l.End() {
				t.Fatal(synced, l.End(), err)
			}
		case 3:
			full = true
			tx := g.sized(20)
			err := l.Append(tx, wanted)
			full = false
			if err == nil && len(naive(tx, 0, nil)) > 0 {
				t.Fatal("a failed write is not told")
			} else if err == nil {
				break
			}
			if later := g.sized(3); l.Append(later, wanted) == nil {
				t.Fatal("a transaction was appended after one that is missing")
			}
			l.Cover(g.lsn)
			if l.End() >= tx.End {
				t.Fatalf("end %s, and %s is missing", l.End(), tx.End)
			}
			if err := compare(l, model, nil, l.Begin(), tx.End, 0); err != nil {
				t.Fatal(err)
			}
			switch g.r.IntN(3) {
			case 0:
				if err := l.Append(tx, wanted); err != nil {
					t.Fatal(err)
				}
				model = append(model, tx)
				l.Cover(g.lsn)
			case 1:
				if err := l.Restart(source, g.lsn); err != nil {
					t.Fatal(err)
				}
				begin(false)
			case 2:
				joined, err := l.Continue(source, g.lsn)
				if err != nil {
					t.Fatal(err)
				}
				begin(joined)
			}
			synced = 0
		case 4:
			if g.r.IntN(4) > 0 {
				break
			}
			joined, err := l.Continue(source, g.lsn+1)
			g.lsn++
			if err != nil {
				t.Fatal(err)
			}
			begin(joined)
			synced = 0
		default:
			tx := g.next()
			if g.huge && g.r.IntN(10) == 0 {
				tx = g.sized(200)
			}
			give := tx
			if g.r.IntN(3) == 0 {
				give = spilled(tx)
			}
			if err := l.Append(give, wanted); err != nil {
				t.Fatal(err)
			}
			model = append(model, tx)
			if old := model[g.r.IntN(len(model))]; l.Append(old, wanted) != nil {
				t.Fatal("a transaction that is there was not passed over")
			}
		}
		trimmed = trimmed || len(model) > 0 && l.Begin() >= model[0].End
		if l.End() != g.lsn || l.Size() > o.MaxBytes+headerBytes {
			t.Fatalf("end %s instead of %s, %d bytes", l.End(), g.lsn, l.Size())
		}
		for range 2 {
			tables, after, upTo, from := g.question(l.Begin(), l.End())
			if err := compare(l, model, tables, after, upTo, from); err != nil {
				t.Fatal(err)
			}
		}
		if b := l.Begin(); b > 0 {
			if err := compare(l, model, nil, b-1, l.End(), 0); !errors.Is(err, ErrTrimmed) {
				t.Fatal(err)
			}
		}
	}
	if seed%6 == 2 && !trimmed {
		t.Fatal("nothing was trimmed")
	}
	var size int64
	for _, p := range segmentFiles(t, o.Dir) {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size != l.Size() {
		t.Fatalf("%d bytes on disk, %d counted", size, l.Size())
	}
}
