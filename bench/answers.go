package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// bank is an answer store in a process of its own, filled from nothing but
// arithmetic: answer i is the one of account i.
type bank struct {
	store   *answer.Store
	groups  []*answer.Group
	reads   []*match.Reads
	answers int
	body    int

	xid revision.XID
	lsn revision.LSN
}

// bankEndpoints share the answers evenly.
const bankEndpoints = 10

var bankRelation = &catalog.Relation{OID: 16400, Schema: "public", Name: "orders", Identity: catalog.IdentityFull, Columns: []catalog.Column{
	{Name: "id", Type: 23, Key: true},
	{Name: "account_id", Type: 23, Key: true},
	{Name: "status", Type: 25, Key: true},
	{Name: "total", Type: 1700, Key: true},
	{Name: "note", Type: 25, Key: true},
	{Name: "placed_at", Type: 1184, Key: true},
}}

// openAnswers builds a bank. What it says first is how long that took.
func openAnswers(ctx context.Context, args []string, _ *slog.Logger) (any, served, func(), error) {
	b := &bank{xid: 1000, lsn: 1 << 20}
	if err := childFlags(args, func(f *flag.FlagSet) {
		f.IntVar(&b.answers, "answers", 0, "")
		f.IntVar(&b.body, "body", 200, "")
	}); err != nil {
		return nil, nil, nil, err
	}
	begin := time.Now()
	before := heap()
	b.store = answer.NewStore(answer.Options{MaxMemory: 1 << 40}, revision.Source{}, b.lsn)
	for i := range bankEndpoints {
		b.groups = append(b.groups, &answer.Group{Name: "endpoint" + strconv.Itoa(i), Counters: &answer.Counters{}})
		b.reads = append(b.reads, &match.Reads{
			Tables: []catalog.OID{bankRelation.OID}, Name: bankRelation.String(), Columns: []string{"id", "account_id", "status", "total"},
		})
	}
	for i := range b.answers {
		if err := b.fill(ctx, i); err != nil {
			return nil, nil, nil, err
		}
	}
	b.forget()
	built := time.Since(begin)
	serve := func(_ context.Context, command string, _ []string) (any, error) {
		if command != "memory" {
			return nil, fmt.Errorf("unknown command %q", command)
		}
		m := memory{Heap: heap() - before, Accounted: b.store.Stats().Bytes, Answers: b.store.Stats().Entries, Resident: resident()}
		runtime.KeepAlive(b)
		return m, nil
	}
	return built, serve, b.store.Close, nil
}

// memory is what a bank takes.
type memory struct {
	Heap      int64 // bytes of live objects, after a collection, less those before
	Accounted int64 // by the store itself
	Answers   int64
	Resident  int64 // bytes of the process
}

// heap returns the bytes of live objects.
func heap() int64 {
	// Twice: what a finalizer or a pool held on to goes with the second.
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// bankSource fills answers. Its snapshot holds everything applied so far.
type bankSource struct{ *bank }

func (s bankSource) Fill(_ context.Context, queries []*answer.Query) ([]answer.Result, error) {
	out := make([]answer.Result, len(queries))
	for n := range out {
		body := make([]byte, s.body)
		for i := range body {
			body[i] = byte('a' + rand.IntN(26))
		}
		out[n] = answer.Result{
			Body: body, Found: true, Snapshot: revision.Snapshot{Xmin: s.xid + 1, Xmax: s.xid + 1}, Upper: s.lsn,
		}
	}
	return out, nil
}

func (s bankSource) FillAt(context.Context, *answer.Pin) (answer.Result, error) {
	return answer.Result{}, answer.ErrSnapshotExpired
}

func (b *bank) fill(ctx context.Context, i int) error {
	account, ok := match.ParseDatum(match.ClassInt, strconv.AppendInt(nil, int64(i), 10))
	if !ok {
		return fmt.Errorf("%d is no integer", i)
	}
	group := i % bankEndpoints
	q := &answer.Query{
		Key: "/v1/accounts/" + strconv.Itoa(i) + "/orders", Group: b.groups[group],
		Deps: []match.Dependency{{Reads: b.reads[group], Tests: []match.Test{
			{Column: "account_id", Type: 23, Class: match.ClassInt, Op: match.Equal, Values: []match.Datum{account}},
		}}},
		TTL: 24 * time.Hour, Planned: &answer.Seen{Snapshot: revision.Snapshot{Xmin: b.xid + 1, Xmax: b.xid + 1}}, Source: bankSource{b},
	}
	r, err := b.store.Serve(ctx, q, answer.Need{Level: revision.AtLeastAsFresh, Position: b.lsn})
	if err == nil && !r.Stored {
		err = fmt.Errorf("answer %d was not stored", i)
	}
	return err
}

// forget lets the store drop what has ended and the history that nobody needs.
func (b *bank) forget() {
	b.store.Prove(b.store.Session(), &revision.Snapshot{Xmin: b.xid + 1, Xmax: b.xid + 1})
	b.store.Sweep()
}
