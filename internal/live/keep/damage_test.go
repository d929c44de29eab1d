package keep

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// written is a log on disk as it was left, and what went in.
type written struct {
	o          Options
	g          *generator
	model      []*change.Transaction
	begin, end revision.LSN
	synced     revision.LSN
	// acked is where the server begins at the earliest.
	acked revision.LSN
	// removed are the files that went, elsewhere.
	removed string
	// sizes of the files when synced was returned.
	sizes map[string]int64
}

func write(t *testing.T, seed uint64) *written {
	w := &written{
		o: Options{Dir: t.TempDir(), MaxBytes: 30_000, SegmentBytes: 1_500}, g: newGenerator(seed, 4), sizes: map[string]int64{},
		acked: 1000, removed: t.TempDir(),
	}
	if seed%2 == 0 {
		w.o.MaxBytes = 1 << 20
		w.o.SegmentBytes = 5_000
	}
	l := openLog(t, w.o)
	l.Continue(source, w.g.lsn)
	for range 150 + w.g.r.IntN(200) {
		tx := w.g.next()
		if err := l.Append(tx, wanted); err != nil {
			t.Fatal(err)
		}
		w.model = append(w.model, tx)
		for _, p := range segmentFiles(t, w.o.Dir) {
			if err := os.Link(p, filepath.Join(w.removed, filepath.Base(p))); err != nil && !errors.Is(err, os.ErrExist) {
				t.Fatal(err)
			}
		}
		if seed%3 == 0 && w.g.r.IntN(150) == 0 {
			// Some transactions are missing, and nobody sends them again.
			for range 3 {
				w.model = append(w.model, w.g.sized(5))
			}
			if err := l.Restart(source, w.g.lsn); err != nil {
				t.Fatal(err)
			}
			w.acked, w.synced, w.sizes = w.g.lsn, 0, map[string]int64{}
		}
		if w.g.r.IntN(60) == 0 {
			var err error
			if w.synced, err = l.Sync(); err != nil {
				t.Fatal(err)
			}
			w.sizes = map[string]int64{}
			for _, p := range segmentFiles(t, w.o.Dir) {
				info, err := os.Stat(p)
				if err != nil {
					t.Fatal(err)
				}
				w.sizes[p] = info.Size()
			}
		}
	}
	w.begin, w.end = l.Begin(), l.End()
	l.Close()
	return w
}

// check opens the log, compares what is there, goes on from a session's start as
// the server would, and compares again.
func (w *written) check(t *testing.T) *Log {
	t.Helper()
	l := openLog(t, w.o)
	ask := func() {
		t.Helper()
		for i := range 6 {
			tables, after, upTo, from := w.g.question(l.Begin(), l.End())
			if i == 0 {
				tables, after, upTo, from = nil, l.Begin(), l.End(), 0
			}
			if err := compare(l, w.model, tables, after, upTo, from); err != nil {
				t.Fatal(err)
			}
		}
	}
	if l.End() > w.end {
		t.Fatalf("end %s, and only up to %s was appended", l.End(), w.end)
	}
	ask()
	// The server sends again what was not acknowledged.
	start := max(w.synced, w.acked)
	if _, err := l.Continue(source, start); err != nil {
		t.Fatal(err)
	}
	for _, tx := range w.model {
		if tx.End > start {
			if err := l.Append(tx, wanted); err != nil {
				t.Fatal(err)
			}
		}
	}
	l.Cover(w.g.lsn)
	if l.End() != w.g.lsn {
		t.Fatal(l.End(), w.g.lsn)
	}
	ask()
	return l
}

// TestPowerLoss cuts files anywhere behind what was durable, fills their ends
// with zeros, loses whole files, and brings back some that were removed.
func TestPowerLoss(t *testing.T) {
	for seed := range uint64(*seeds) {
		w := write(t, seed)
		back := w.g.r.IntN(3) // none, some, all
		for _, p := range segmentFiles(t, w.removed) {
			if back > w.g.r.IntN(2) {
				_ = os.Link(p, filepath.Join(w.o.Dir, filepath.Base(p)))
			}
		}
		for _, p := range segmentFiles(t, w.o.Dir) {
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			synced, durable := w.sizes[p]
			at := synced + w.g.r.Int64N(int64(len(b))-synced+1)
			switch w.g.r.IntN(4) {
			case 0:
				if !durable {
					os.Remove(p)
				}
				continue
			case 1:
				b = b[:at]
			case 2:
				clear(b[at:])
			case 3:
				n := w.g.r.Int64N(int64(len(b)) - at + 1)
				clear(b[at : at+n])
			}
			if err := os.WriteFile(p, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l := openLog(t, w.o)
		begin, end := l.Begin(), l.End()
		l.Close()
		if w.synced > 0 && (end < w.synced || begin > w.synced) {
			t.Fatalf("seed %d: (%s, %s] is left, and %s was durable", seed, begin, end, w.synced)
		}
		if w.synced > w.begin && begin > w.begin {
			t.Fatalf("seed %d: the log began at %s and begins at %s", seed, w.begin, begin)
		}
		w.check(t).Close()
	}
}

// TestDamage changes bytes anywhere, also what was durable, and takes, copies and
// exchanges files.
func TestDamage(t *testing.T) {
	cut := 0
	for seed := range uint64(*seeds) {
		w := write(t, seed)
		files := segmentFiles(t, w.o.Dir)
		pick := func() string { return files[w.g.r.IntN(len(files))] }
		for range 1 + w.g.r.IntN(3) {
			p, q := pick(), pick()
			b, _ := os.ReadFile(p)
			if len(b) == 0 {
				continue
			}
			switch w.g.r.IntN(8) {
			case 0:
				os.Remove(p)
			case 1:
				other, _ := os.ReadFile(q)
				os.WriteFile(p, other, 0o600)
				os.WriteFile(q, b, 0o600)
			case 2:
				os.WriteFile(filepath.Join(w.o.Dir, fmt.Sprintf("%016x%s", w.g.r.IntN(200), suffix)), b, 0o600)
			case 3:
				i := w.g.r.IntN(len(b))
				os.WriteFile(p, append(b[:i:i], b[min(i+1+w.g.r.IntN(300), len(b)):]...), 0o600)
			default:
				b[w.g.r.IntN(len(b))] ^= 1 << w.g.r.IntN(8)
				os.WriteFile(p, b, 0o600)
			}
		}
		l := openLog(t, w.o)
		if l.Begin() != w.begin || l.End() != w.end {
			cut++
		}
		l.Close()
		w.check(t).Close()
	}
	if cut < *seeds/2 {
		t.Fatalf("only %d logs were damaged", cut)
	}
}

// TestWhichSide: where the middle is missing, what was durable decides.
func TestWhichSide(t *testing.T) {
	for _, durable := range []bool{false, true} {
		o := Options{Dir: t.TempDir(), MaxBytes: 1 << 20, SegmentBytes: 4096}
		l := openLog(t, o)
		l.Continue(source, 0)
		rel := items(1)
		for end := revision.LSN(1); end <= 1000; end++ {
			if err := l.Append(&change.Transaction{End: end, Changes: []change.Change{insert(rel, 1)}}, everything); err != nil {
				t.Fatal(err)
			}
			if end == 20 || end == 900 && durable {
				if at, err := l.Sync(); at != end || err != nil {
					t.Fatal(at, err)
				}
			}
		}
		l.Close()
		files := segmentFiles(t, o.Dir)
		p := files[len(files)/2]
		b, _ := os.ReadFile(p)
		if err := os.WriteFile(p, b[:len(b)-1], 0o600); err != nil {
			t.Fatal(err)
		}
		l = openLog(t, o)
		if newer := l.End() == 1000 && l.Begin() > 400; newer != durable {
			t.Fatalf("(%d, %d]", l.Begin(), l.End())
		}
		if older := l.Begin() == 0 && l.End() < 600 && l.End() > 400; older == durable {
			t.Fatalf("(%d, %d]", l.Begin(), l.End())
		}
	}
}

// TestReaderChecks: a value that was changed on the disk is not read.
func TestReaderChecks(t *testing.T) {
	o := Options{Dir: t.TempDir()}
	l := openLog(t, o)
	l.Continue(source, 0)
	if err := l.Append(&change.Transaction{End: 1, Changes: []change.Change{insert(items(1), 7)}}, everything); err != nil {
		t.Fatal(err)
	}
	p := segmentFiles(t, o.Dir)[0]
	b, _ := os.ReadFile(p)
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("name of 8"), int64(bytes.Index(b, []byte("name of 7")))); err != nil {
		t.Fatal(err)
	}
	err = l.Read(context.Background(), nil, 0, 1, func(tx *Tx) (bool, error) {
		t.Error("it was read")
		return true, nil
	})
	if !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// TestForeignFrames: what another log wrote at the same place is not taken for
// part of this one.
func TestForeignFrames(t *testing.T) {
	var dirs []string
	var sizes []int64
	for range 2 {
		o := Options{Dir: t.TempDir()}
		l := openLog(t, o)
		l.Continue(source, 0)
		for end := revision.LSN(1); end < 3; end++ {
			if err := l.Append(&change.Transaction{End: end, Changes: []change.Change{insert(items(1), 1)}}, everything); err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, l.Size())
		}
		l.Close()
		dirs = append(dirs, segmentFiles(t, o.Dir)[0])
	}
	mine, _ := os.ReadFile(dirs[0])
	other, _ := os.ReadFile(dirs[1])
	copy(mine[sizes[0]:], other[sizes[0]:])
	if err := os.WriteFile(dirs[0], mine, 0o600); err != nil {
		t.Fatal(err)
	}
	if l := openLog(t, Options{Dir: filepath.Dir(dirs[0])}); l.End() != 1 {
		t.Fatal(l.End())
	}
}

// TestEveryByte changes each byte of a small log in turn.
func TestEveryByte(t *testing.T) {
	g := newGenerator(5, 2)
	o := Options{Dir: t.TempDir(), MaxBytes: 1 << 20, SegmentBytes: 1 << 18}
	l := openLog(t, o)
	l.Continue(source, g.lsn)
	var model []*change.Transaction
	for range 30 {
		tx := g.sized(1 + g.r.IntN(3))
		if err := l.Append(tx, wanted); err != nil {
			t.Fatal(err)
		}
		model = append(model, tx)
		if g.r.IntN(10) == 0 {
			g.lsn += 50
			l.Cover(g.lsn)
			l.Sync()
		}
	}
	l.Close()
	p := segmentFiles(t, o.Dir)[0]
	whole, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	for i := range whole {
		b := append([]byte(nil), whole...)
		b[i] ^= 1 << (i % 8)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		if l.End() >= g.lsn {
			t.Fatalf("byte %d was changed and nothing noticed", i)
		}
		if err := compare(l, model, nil, l.Begin(), l.End(), 0); err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
		l.Close()
	}
}

// TestDamageFoundByReader: a reader that finds damage gives an error, and the log
// drops what is not certain.
func TestDamageFoundByReader(t *testing.T) {
	for _, last := range []bool{false, true} {
		w := write(t, 2)
		l := openLog(t, w.o)
		files := segmentFiles(t, w.o.Dir)
		p := files[len(files)/2]
		if last {
			p = files[len(files)-1]
		}
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("damaged, all of it, wherever one looks"), headerBytes+200); err != nil {
			t.Fatal(err)
		}
		f.Close()
		err = compare(l, w.model, nil, l.Begin(), l.End(), 0)
		var e *Error
		if !errors.Is(err, ErrDamaged) || !errors.As(err, &e) || e.Dir != w.o.Dir {
			t.Fatal(err)
		}
		begin, end := l.Begin(), l.End()
		if last {
			if _, err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			if l.Begin() != end {
				t.Fatal(l.Begin(), end)
			}
		} else {
			tx := w.g.sized(4)
			if err := l.Append(tx, wanted); err != nil {
				t.Fatal(err)
			}
			w.model = append(w.model, tx)
			end = tx.End
		}
		if l.Begin() <= begin || l.End() != end {
			t.Fatalf("(%s, %s]", l.Begin(), l.End())
		}
		if err := compare(l, w.model, nil, l.Begin(), l.End(), 0); err != nil {
			t.Fatal(err)
		}
		if err := l.Read(context.Background(), nil, begin, end, nil); !errors.Is(err, ErrTrimmed) {
			t.Fatal(err)
		}
		l.Close()
		l = openLog(t, w.o)
		if err := compare(l, w.model, nil, l.Begin(), end, 0); err != nil || l.End() != end {
			t.Fatal(err, l.End(), end)
		}
		l.Close()
	}
}
