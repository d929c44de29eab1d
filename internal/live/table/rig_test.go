package table_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const patience = 60 * time.Second

// rig is a hub that follows a real database, wired as a tenant does it.
type rig struct {
	t    testing.TB
	db   *pgtest.Database
	dir  string
	opts func(*table.Options)
	keep keep.Options
	scan int // of the hub

	log  *keep.Log
	hub  *table.Hub
	feed *feed.Feed
	pool *pgxpool.Pool
	stop func()

	frontier atomic.Pointer[revision.Frontier]
	sessions atomic.Int64
	epoch    uint64

	sink   sync.Mutex // held over the calls of the feed
	source revision.Source
	seen   revision.LSN

	mu      sync.Mutex
	unknown map[revision.XID][]catalog.OID
	// record is every transaction that this database committed, once.
	record []*change.Transaction
	last   revision.LSN
}

// triggers tell of definitions as tidemark's own do.
const triggers = `
CREATE SCHEMA tidemark;
CREATE FUNCTION tidemark.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_logical_emit_message(true, 'tidemark.ddl', tg_tag); END $$;
CREATE EVENT TRIGGER tidemark_ddl ON ddl_command_end EXECUTE FUNCTION tidemark.on_ddl();
CREATE EVENT TRIGGER tidemark_drop ON sql_drop EXECUTE FUNCTION tidemark.on_ddl();`

func newRig(t testing.TB, db *pgtest.Database, schema string, opts func(*table.Options)) *rig {
	t.Helper()
	db.Exec(t, schema)
	options := ""
	if db.Server.Version() >= 18 {
		// Else a table with a generated column and replica identity FULL takes no UPDATE.
		options = " WITH (publish_generated_columns = stored)"
	}
	db.Exec(t, `CREATE PUBLICATION pub FOR ALL TABLES`+options)
	db.Exec(t, triggers)
	r := &rig{t: t, db: db, dir: t.TempDir(), opts: opts}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) start() {
	r.t.Helper()
	level := slog.LevelWarn
	if os.Getenv("TIDEMARK_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	o := r.keep
	o.Dir, o.Logger = filepath.Join(r.dir, "log"), logger
	var err error
	if r.log, err = keep.Open(o); err != nil {
		r.t.Fatal(err)
	}
	cfg, err := pgxpool.ParseConfig(r.db.DSN())
	if err != nil {
		r.t.Fatal(err)
	}
	cfg.MaxConns = 6
	for _, s := range query.Settings() {
		cfg.ConnConfig.RuntimeParams[s.Name] = s.Value
	}
	if r.pool, err = pgxpool.NewWithConfig(context.Background(), cfg); err != nil {
		r.t.Fatal(err)
	}
	r.sessions.Store(0)
	r.frontier.Store(revision.NewFrontier(revision.Source{}, 0))
	to := table.Options{
		Log: r.log, Host: r, Pool: r.pool, Dir: r.dir, Rules: []table.Rule{{Schema: "public"}},
		Query: query.Options{Publication: "pub"}, Logger: logger, PollInterval: 500 * time.Millisecond,
	}
	if r.opts != nil {
		r.opts(&to)
	}
	if r.hub, err = table.New(to); err != nil {
		r.t.Fatal(err)
	}
	if r.scan > 0 {
		r.hub.SetScan(r.scan)
	}
	r.feed = feed.New(feed.Options{
		DSN: r.db.DSN(), Slot: "s_" + r.db.Name, Publication: "pub", CreateSlot: true, Logger: logger,
		SpillDir: r.t.TempDir(), StatusInterval: 100 * time.Millisecond, MinBackoff: 10 * time.Millisecond, MaxBackoff: 200 * time.Millisecond,
		TransactionChanges: 3000, Flush: r.log.Sync,
	}, r)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.feed.Run(ctx); err != nil && ctx.Err() == nil {
			r.t.Errorf("feed: %v", err)
		}
	})
	wg.Go(func() { r.hub.Run(ctx) })
	wg.Go(func() { r.nudge(ctx) })
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		wg.Wait()
		r.hub.Close()
		r.pool.Close()
		if err := r.log.Close(); err != nil {
			r.t.Error(err)
		}
	}
	r.until("the log is followed", func() bool { return r.sessions.Load() > 0 })
}

func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not reached: %s", what)
		}
	}
}

// nudge keeps waits for the frontier short.
func (r *rig) nudge(ctx context.Context) {
	for ctx.Err() == nil {
		time.Sleep(2 * time.Millisecond)
		f := r.frontier.Load()
		want, waiting := f.Highest()
		if !waiting {
			continue
		}
		r.feed.RequestReply()
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		if f.Wait(short, want) != nil {
			_, _ = r.pool.Exec(ctx, `BEGIN; SET LOCAL synchronous_commit TO local; SELECT pg_logical_emit_message(true, 'flush', ''); COMMIT`,
				pgx.QueryExecModeSimpleProtocol)
		}
		cancel()
	}
}

func (r *rig) Frontier() *revision.Frontier { return r.frontier.Load() }
func (r *rig) Hurry()                       { r.feed.RequestReply() }

func (r *rig) Lacks(snap *revision.Snapshot, tables map[catalog.OID]bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for x, wrote := range r.unknown {
		if !snap.Contains(x) && slices.ContainsFunc(wrote, func(o catalog.OID) bool { return tables[o] }) {
			return true
		}
	}
	return false
}

func (r *rig) inProgress(ctx context.Context) (map[revision.XID][]catalog.OID, error) {
	conn, err := pgx.Connect(ctx, r.db.DSN())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `
		SELECT x.transactionid::text::bigint, r.relation
		FROM pg_locks x JOIN pg_locks r USING (virtualtransaction)
		WHERE x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' AND x.granted
		  AND r.locktype = 'relation' AND r.granted AND r.mode NOT IN ('AccessShareLock', 'RowShareLock')`)
	if err != nil {
		return nil, err
	}
	out := map[revision.XID][]catalog.OID{}
	var xid int64
	var oid uint32
	_, err = pgx.ForEachRow(rows, []any{&xid, &oid}, func() error {
		out[revision.XID(xid)] = append(out[revision.XID(xid)], catalog.OID(oid))
		return nil
	})
	return out, err
}

func (r *rig) Connected(ctx context.Context, s feed.Session) error {
	r.sink.Lock()
	defer r.sink.Unlock()
	r.source, r.seen = s.Source, s.Start
	fresh := r.sessions.Load() == 0 || s.Epoch != r.epoch
	r.epoch = s.Epoch
	if fresh {
		unknown, err := r.inProgress(ctx)
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.unknown = unknown
		r.mu.Unlock()
		r.frontier.Swap(revision.NewFrontier(s.Source, s.Start)).Fail(errors.New("a new epoch"))
	}
	joined, err := r.log.Continue(s.Source, s.Start)
	if err != nil {
		return err
	}
	r.hub.Connected(s.Source, joined)
	r.sessions.Add(1)
	return nil
}

func (r *rig) Disconnected(error) {}

func (r *rig) Apply(_ context.Context, tx *change.Transaction) error {
	r.sink.Lock()
	defer r.sink.Unlock()
	r.mu.Lock()
	delete(r.unknown, tx.XID)
	if tx.End > r.last {
		r.last = tx.End
		r.record = append(r.record, whole(tx))
	}
	r.mu.Unlock()
	if err := r.log.Append(tx, func(*catalog.Relation) bool { return true }); err != nil {
		r.t.Errorf("append: %v", err)
	}
	return r.hub.Apply(tx)
}

// whole copies a transaction with all its changes.
func whole(tx *change.Transaction) *change.Transaction {
	out := *tx
	if tx.Spilled == nil {
		return &out
	}
	out.Spilled, out.Changes = nil, nil
	_ = tx.Each(func(c *change.Change) error {
		cp := *c
		row := func(r change.Row) change.Row {
			if r == nil {
				return nil
			}
			n := make(change.Row, len(r))
			for i, v := range r {
				n[i] = change.Value{Kind: v.Kind, Text: slices.Clone(v.Text)}
			}
			return n
		}
		cp.Old, cp.New = row(c.Old), row(c.New)
		out.Changes = append(out.Changes, cp)
		return nil
	})
	return &out
}

// begin begins the kept log anew where the feed is, as after a failure of the disk.
func (r *rig) begin() {
	r.sink.Lock()
	defer r.sink.Unlock()
	if err := r.log.Restart(r.source, r.seen); err != nil {
		r.t.Fatal(err)
	}
	r.hub.Connected(r.source, false)
	r.hub.Advance(r.seen)
}

func (r *rig) Advance(lsn revision.LSN) {
	r.sink.Lock()
	defer r.sink.Unlock()
	r.seen = lsn
	r.log.Cover(lsn)
	r.frontier.Load().Advance(lsn)
	r.hub.Advance(lsn)
}

// idle waits until the hub has been told of what the frontier has.
func (r *rig) idle() {
	r.sink.Lock()
	defer r.sink.Unlock()
}

func (r *rig) transactions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.record)
}

// settle waits until everything that is committed now is visible, and returns the
// position.
func (r *rig) settle() revision.LSN {
	r.t.Helper()
	var text string
	if err := r.db.Conn(r.t).QueryRow(context.Background(), "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		r.t.Fatal(err)
	}
	at, err := revision.ParseLSN(text)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for r.frontier.Load().Wait(ctx, at) != nil {
		if ctx.Err() != nil {
			r.t.Fatalf("the log does not reach %s", at)
		}
		time.Sleep(time.Millisecond)
	}
	return at
}

// message is one message of a shape, read by other means than it was written.
type message struct {
	Key      string             `json:"key"`
	Value    map[string]*string `json:"value"`
	OldValue map[string]*string `json:"old_value"`
	Headers  struct {
		Operation string   `json:"operation"`
		Control   string   `json:"control"`
		LSN       string   `json:"lsn"`
		Op        *uint64  `json:"op_position"`
		TXIDs     []uint64 `json:"txids"`
		Last      bool     `json:"last"`
		Relation  []string `json:"relation"`
	} `json:"headers"`
}

type rowSet map[string]map[string]*string

// follower replays a shape and complains about everything that is not as it should be.
type follower struct {
	hub       func() *table.Hub
	def       live.Definition
	keyed     bool // rows have a key of their own
	handle    string
	offset    live.Offset
	rows      rowSet
	upTo      bool
	at        revision.LSN
	refetched int
	why       []string
	last      live.Offset
}

func newFollower(r *rig, d live.Definition) *follower {
	return &follower{hub: func() *table.Hub { return r.hub }, def: d, keyed: true, offset: live.Start, rows: rowSet{}}
}

func (f *follower) reset() {
	f.handle, f.offset, f.rows, f.upTo, f.last = "", live.Start, rowSet{}, false, live.Offset{}
}

// step asks once and replays what comes.
func (f *follower) step(ctx context.Context) (live.Shape, error) {
	s, err := f.hub().Open(ctx, f.def, f.handle)
	if err != nil {
		return nil, err
	}
	if f.handle != "" && s.Handle() != f.handle {
		f.refetched++
		f.why = append(f.why, "another handle")
		f.reset()
	}
	f.handle = s.Handle()
	b, err := s.Next(ctx, f.offset)
	var gone *live.GoneError
	if errors.As(err, &gone) {
		f.refetched++
		f.why = append(f.why, gone.Reason)
		f.reset()
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, f.replay(b)
}

func (f *follower) replay(b *live.Batch) error {
	var all []message
	if err := json.Unmarshal([]byte("["+string(b.Messages)+"]"), &all); err != nil {
		return fmt.Errorf("messages: %w: %.300s", err, b.Messages)
	}
	for i := range all {
		m := &all[i]
		if m.Headers.Control != "" {
			if m.Headers.Control != "snapshot-end" || i != len(all)-1 || !b.SnapshotEnd {
				return fmt.Errorf("control %s in the middle", m.Headers.Control)
			}
			continue
		}
		if err := f.change(m); err != nil {
			return fmt.Errorf("after %v (%v), in the batch to %v: %w", f.offset, f.last, b.End, err)
		}
	}
	if n := len(all); n > 0 && all[n-1].Headers.Op != nil && !b.UpToDate && f.last != b.End {
		return fmt.Errorf("the batch ends at %v, its last message is at %v", b.End, f.last)
	}
	if b.End != f.offset && f.offset != live.Start && b.End.Compare(f.offset) < 0 {
		return fmt.Errorf("offset %v after %v", b.End, f.offset)
	}
	if b.UpToDate && b.At < f.at && f.upTo {
		return fmt.Errorf("up to date at %v after %v", b.At, f.at)
	}
	if f.offset == live.Start && b.UpToDate {
		return errors.New("a snapshot ends in up-to-date")
	}
	// As over HTTP.
	var err error
	if f.offset, err = live.ParseOffset(b.End.String()); err != nil || f.offset != b.End {
		return fmt.Errorf("offset %v: %v", b.End, err)
	}
	if f.upTo = b.UpToDate; f.upTo {
		f.at = b.At
	}
	return nil
}

func (f *follower) change(m *message) error {
	if m.Headers.Op != nil {
		var lsn uint64
		if _, err := fmt.Sscan(m.Headers.LSN, &lsn); err != nil {
			return err
		}
		at := live.Offset{LSN: revision.LSN(lsn), Index: *m.Headers.Op}
		if at.Compare(f.last) <= 0 {
			return fmt.Errorf("message at %v after %v", at, f.last)
		}
		f.last = at
	}
	have, present := f.rows[m.Key]
	fault := func(what string) error {
		return fmt.Errorf("%s: %s %s %v at %s", what, m.Headers.Operation, m.Key, m.Value, m.Headers.LSN)
	}
	switch m.Headers.Operation {
	case "insert":
		if present && f.keyed {
			return fault("the row is there")
		}
		f.rows[m.Key] = m.Value
	case "update":
		if !present {
			return fault("there is no such row")
		}
		if f.def.Full {
			for name, v := range m.OldValue {
				if !same(have[name], v) {
					return fault("old value of " + name)
				}
			}
			if len(m.Value) != len(have) {
				return fault("columns")
			}
		}
		row := maps.Clone(have)
		for name, v := range m.Value {
			if _, ok := row[name]; !ok {
				return fault("column " + name)
			}
			row[name] = v
		}
		f.rows[m.Key] = row
	case "delete":
		if !present && f.keyed {
			return fault("there is no such row")
		}
		for name, v := range m.Value {
			if !same(have[name], v) {
				return fault("deleted value of " + name)
			}
		}
		delete(f.rows, m.Key)
	default:
		return fault("operation")
	}
	return nil
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// catchUp follows until the shape is up to date at a position.
func (f *follower) catchUp(ctx context.Context, at revision.LSN) error {
	for n := 0; ; n++ {
		s, err := f.step(ctx)
		if err != nil {
			return err
		}
		if f.upTo && f.at >= at {
			return nil
		}
		if f.upTo {
			if news := s.Changed(f.offset); news != nil {
				select {
				case <-news.Done():
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		if n > 100_000 {
			return fmt.Errorf("it does not end: at %v, up to date %v at %v, want %v", f.offset, f.upTo, f.at, at)
		}
	}
}

// flat are rows as text, in order, without their keys.
func (s rowSet) flat() []string {
	out := make([]string, 0, len(s))
	for _, row := range s {
		out = append(out, flatRow(row))
	}
	slices.Sort(out)
	return out
}

func flatRow(row map[string]*string) string {
	short := maps.Clone(row)
	for name, v := range short {
		if v != nil && len(*v) > 60 {
			short[name] = ptr(fmt.Sprintf("%.8s… of %d, %x", *v, len(*v), crc32.ChecksumIEEE([]byte(*v))))
		}
	}
	b, _ := json.Marshal(short)
	return string(b)
}

// inPostgres returns what a SELECT says, in the same form.
func inPostgres(t testing.TB, conn *pgx.Conn, sql string, args ...string) []string {
	t.Helper()
	for _, s := range query.ShapeSettings() {
		if _, err := conn.Exec(context.Background(), "SELECT set_config($1, $2, false)", s.Name, s.Value); err != nil {
			t.Fatal(err)
		}
	}
	var values [][]byte
	for _, a := range args {
		values = append(values, []byte(a))
	}
	res := conn.PgConn().ExecParams(context.Background(), sql, values, nil, nil, nil)
	var out []string
	for res.NextRow() {
		row := map[string]*string{}
		for i, v := range res.Values() {
			name := res.FieldDescriptions()[i].Name
			if v == nil {
				row[name] = nil
				continue
			}
			text := string(v)
			row[name] = &text
		}
		out = append(out, flatRow(row))
	}
	if _, err := res.Close(); err != nil {
		t.Fatalf("%v: %s", err, sql)
	}
	slices.Sort(out)
	return out
}

func compare(t testing.TB, what string, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	var more, less []string
	for _, s := range got {
		if _, ok := slices.BinarySearch(want, s); !ok {
			more = append(more, s)
		}
	}
	for _, s := range want {
		if _, ok := slices.BinarySearch(got, s); !ok {
			less = append(less, s)
		}
	}
	t.Errorf("%s: %d rows, want %d; too many: %.700s; missing: %.700s", what, len(got), len(want), fmt.Sprint(more), fmt.Sprint(less))
}

func ptr[T any](v T) *T { return &v }
