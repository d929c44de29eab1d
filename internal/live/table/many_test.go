package table_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// Shapes that a change does not touch cost nothing: they are not woken, and small.
func TestMany(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes a thousand shapes; run without -short to see that one costs nothing while nothing touches it")
	}
	r := newRig(t, pgtest.DB(t), items, func(o *table.Options) { o.Rules = []table.Rule{{Schema: "public", Account: "owner"}} })
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	const n = 1000
	open := func(i int) (live.Shape, error) {
		return r.hub.Open(ctx, live.Definition{Table: "items", Where: "n < $1", Params: map[string]string{"1": "5"}, Account: ptr(fmt.Sprintf("o%d", i))}, "")
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	if _, err := open(n); err != nil {
		t.Fatal(err)
	}
	before := heap()
	began := time.Now()
	shapes := make([]live.Shape, n)
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := w; i < n && !t.Failed(); i += 6 {
				var err error
				if shapes[i], err = open(i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	took := time.Since(began)
	at := make([]live.Offset, n)
	news := make([]*live.News, n)
	follow := func(i int) int {
		got := 0
		for {
			b, err := shapes[i].Next(ctx, at[i])
			if err != nil {
				t.Fatal(err)
			}
			if at[i] = b.End; b.UpToDate {
				if len(b.Messages) > 0 {
					got++
				}
				break
			}
			got++
		}
		news[i] = shapes[i].Changed(at[i])
		return got
	}
	for i := range shapes {
		at[i] = live.Start
		follow(i)
	}
	per := (heap() - before) / n
	t.Logf("%d shapes in %v, %d bytes each", n, took, per)
	if per > 8<<10 {
		t.Errorf("%d bytes for an idle shape", per)
	}
	for round := range 10 {
		r.db.Exec(t, fmt.Sprintf("INSERT INTO items (id, n, owner) VALUES (%d, 1, 'o%d'), (%d, 9, 'o3')", 1000+round, round*7, 2000+round))
		r.settle()
		for i := range shapes {
			select {
			case <-news[i].Done():
				if i != round*7 {
					t.Errorf("shape %d was woken by a row of %d", i, round*7)
				}
				if follow(i) != 1 {
					t.Errorf("shape %d was woken for nothing", i)
				}
			default:
				if news[i] == nil || i == round*7 {
					t.Errorf("shape %d was not woken", i)
				}
			}
		}
	}
	if a := testing.AllocsPerRun(100, func() { shapes[5].Changed(at[5]) }); a > 0 {
		t.Errorf("waiting where somebody waits costs %v allocations", a)
	}
	// After a restart, one pass tells all of them that nothing happened.
	for range 40 {
		r.db.Exec(t, "UPDATE items SET n = 9 WHERE owner = 'o1'; UPDATE items SET n = 8 WHERE owner = 'o1'")
		for range 20 {
			r.db.Exec(t, "UPDATE items SET name = 'x' || random() WHERE id = 3")
		}
	}
	r.settle()
	handles := make([]string, n)
	for i := range shapes {
		handles[i] = shapes[i].Handle()
	}
	r.stop()
	r.start()
	began = time.Now()
	for w := range 50 {
		wg.Go(func() {
			for i := w; i < n; i += 50 {
				s, err := r.hub.Open(ctx, live.Definition{Table: "items", Where: "n < $1", Params: map[string]string{"1": "5"}, Account: ptr(fmt.Sprintf("o%d", i))}, handles[i])
				if err != nil || s.Handle() != handles[i] {
					t.Errorf("shape %d: %v", i, err)
					return
				}
				if b, err := s.Next(ctx, at[i]); err != nil || !b.UpToDate && i > 2 {
					t.Errorf("shape %d: %+v %v", i, b, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("all back in %v: %+v", time.Since(began), r.hub.Status())
}
