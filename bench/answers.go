package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// bank is an answer store in a process of its own, filled from nothing but
// arithmetic: answer i is the one of account i, and one change of a row of that
// account touches it and no other.
type bank struct {
	store   *answer.Store
	groups  []*answer.Group
	reads   []*match.Reads
	answers int
	body    int

	xid revision.XID
	lsn revision.LSN
}

// bankEndpoints share the answers evenly. Every change looks at each of them.
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
	serve := func(ctx context.Context, command string, args []string) (any, error) {
		switch command {
		case "memory":
			m := memory{Heap: heap() - before, Accounted: b.store.Stats().Bytes, Answers: b.store.Stats().Entries, Resident: resident()}
			runtime.KeepAlive(b)
			return m, nil
		case "apply":
			var k kind
			if err := json.Unmarshal([]byte(args[0]), &k); err != nil {
				return nil, err
			}
			return b.measure(ctx, k)
		}
		return nil, fmt.Errorf("unknown command %q", command)
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
		TTL: 24 * time.Hour, Planned: &revision.Snapshot{Xmin: b.xid + 1, Xmax: b.xid + 1}, Source: bankSource{b},
	}
	r, err := b.store.Serve(ctx, q, answer.Need{Level: revision.AtLeastAsFresh, Position: b.lsn})
	if err == nil && !r.Stored {
		err = fmt.Errorf("answer %d was not stored", i)
	}
	return err
}

// forget lets the store drop what has ended and the history that nobody needs.
func (b *bank) forget() {
	b.store.Prove(&revision.Snapshot{Xmin: b.xid + 1, Xmax: b.xid + 1})
	b.store.Sweep()
}

// cost is what changes cost, each. Median and P99 are those of an Apply, divided
// by its changes; Mean is CPU time of the thread that applies, which takes in what
// the collector has it do.
type cost struct {
	Changes            int
	Median, P99, Mean  float64 // nanoseconds
	Allocations, Bytes float64
	Collections        int64 // of garbage, meanwhile
}

// batch is how many changes are applied before the answers that they touched are
// filled again, which is not measured. It must not be more than the least number
// of answers.
const batch = 500

// kind is a kind of change, each an update of one row.
type kind struct {
	Each     int  // changes to a transaction
	Touching bool // each the row of another answer; else of none
	Accounts int  // that take turns, at most as many as there are answers
	For      time.Duration
}

// measure applies changes for a while.
func (b *bank) measure(ctx context.Context, k kind) (cost, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var c cost
	var waits []time.Duration
	var before, after runtime.MemStats
	used := time.Duration(0)
	for used < k.For {
		transactions, accounts := b.prepare(k)
		runtime.ReadMemStats(&before)
		cpu, last := threadTime(), time.Now()
		for _, t := range transactions {
			if err := b.store.Apply(ctx, t); err != nil {
				return c, err
			}
			b.store.Frontier().Advance(t.End)
			now := time.Now()
			waits = append(waits, now.Sub(last))
			last = now
		}
		used += threadTime() - cpu
		runtime.ReadMemStats(&after)
		c.Changes += len(transactions) * k.Each
		c.Allocations += float64(after.Mallocs - before.Mallocs)
		c.Bytes += float64(after.TotalAlloc - before.TotalAlloc)
		c.Collections += int64(after.NumGC - before.NumGC)
		b.forget()
		for _, account := range accounts {
			if err := b.fill(ctx, account); err != nil {
				return c, err
			}
		}
	}
	slices.Sort(waits)
	c.Mean = float64(used) / float64(c.Changes)
	c.Allocations /= float64(c.Changes)
	c.Bytes /= float64(c.Changes)
	c.Median = float64(quantile(waits, 0.5)) / float64(k.Each)
	c.P99 = float64(quantile(waits, 0.99)) / float64(k.Each)
	return c, nil
}

// prepare makes a batch of changes, of different accounts, and names those whose
// answers they touch.
func (b *bank) prepare(k kind) (out []*change.Transaction, accounts []int) {
	n := min(k.Accounts, b.answers)
	// A stride that has no factor in common with n goes round all of them.
	at, step := rand.IntN(n), 7919
	for len(out)*k.Each < batch {
		b.xid++
		b.lsn += 1 << 10
		t := &change.Transaction{XID: b.xid, Commit: b.lsn - 48, End: b.lsn, Time: time.Now(), Count: k.Each, Bytes: int64(k.Each) * 200}
		for range k.Each {
			at = (at + step) % n
			account := at
			if k.Touching {
				accounts = append(accounts, at)
			} else {
				account += b.answers
			}
			t.Changes = append(t.Changes, change.Change{
				Op: change.Update, Relation: bankRelation, Old: row(account, "open"), New: row(account, "paid"),
			})
		}
		out = append(out, t)
	}
	return out, accounts
}

func row(account int, status string) change.Row {
	text := func(s string) change.Value { return change.Value{Kind: change.Text, Text: []byte(s)} }
	id := strconv.Itoa(account)
	return change.Row{text(id), text(id), text(status), text("19.50"), text("order number " + id), text("2026-01-01 00:00:00+00")}
}
