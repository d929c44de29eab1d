package tenant

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/feed"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/live/keep"
	"github.com/tidemarkdb/tidemark/internal/live/table"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// notes is a hub that writes down what it is told.
type notes struct {
	live.Tables
	text []string
	err  error
}

func (n *notes) note(format string, args ...any) {
	n.text = append(n.text, fmt.Sprintf(format, args...))
}

func (n *notes) Connected(_ revision.Source, joined bool) { n.note("connected %v", joined) }
func (n *notes) Advance(lsn revision.LSN)                 { n.note("to %d", lsn) }
func (n *notes) Status() table.Status                     { return table.Status{} }
func (n *notes) SetRules([]table.Rule)                    {}
func (n *notes) Recheck()                                 {}
func (n *notes) Run(context.Context)                      {}
func (n *notes) Close()                                   {}

func (n *notes) Apply(tx *change.Transaction) error {
	n.note("transaction %d", tx.End)
	return n.err
}

// logRig is a kept log without a feed.
type logRig struct {
	*followedTables
	t   *testing.T
	db  *pgtest.Database
	hub *notes
	rel *catalog.Relation
	dir string
}

var testSource = revision.Source{SystemID: 7, Timeline: 1}

func newLogRig(t *testing.T) *logRig {
	db := pgtest.DB(t)
	db.Exec(t, "CREATE TABLE items (id int PRIMARY KEY); CREATE TABLE others (id int PRIMARY KEY); CREATE PUBLICATION tidemark FOR TABLE items, others")
	r := &logRig{
		t: t, db: db, dir: filepath.Join(t.TempDir(), "data"),
		rel: &catalog.Relation{OID: 1, Schema: "public", Name: "items", Columns: []catalog.Column{{Name: "id", Type: 23, Key: true}}},
	}
	r.start()
	t.Cleanup(func() { r.close() })
	return r
}

// start is another process on the same folder.
func (r *logRig) start() {
	pool, err := pgxpool.New(r.t.Context(), r.db.DSN())
	if err != nil {
		r.t.Fatal(err)
	}
	r.hub = &notes{}
	r.followedTables = &followedTables{
		t: &Tenant{log: slog.New(slog.DiscardHandler), opts: Options{Publication: "tidemark", WaitTimeout: 5 * time.Second}},
		o: LiveOptions{Dir: r.dir}, pool: pool, made: make(chan struct{}), first: make(chan struct{}), failure: errNotConnected, hurry: func() {},
		makeHub: func(*keep.Log) (tableHub, error) { return r.hub, nil },
	}
	r.open()
}

func (r *logRig) connect(start, written revision.LSN, reason string) {
	r.t.Helper()
	if err := r.connected(r.t.Context(), feed.Session{Source: testSource, Start: start, Written: written, Epoch: 1}, reason); err != nil {
		r.t.Fatal(err)
	}
}

func (r *logRig) transaction(end revision.LSN) {
	row := change.Row{{Kind: change.Text, Text: []byte("1")}}
	r.apply(&change.Transaction{
		XID: revision.XID(end), End: end, Commit: end - 1, Time: time.Unix(int64(end), 0), Count: 1,
		Changes: []change.Change{{Op: change.Insert, Relation: r.rel, New: row}},
	})
	r.move(end)
}

func (r *logRig) move(to revision.LSN) {
	r.cover(to)
	r.advance(to)
}

// want compares what the hub was told since the last time.
func (r *logRig) want(lines ...string) {
	r.t.Helper()
	if got := r.hub.text; !slices.Equal(got, lines) {
		r.t.Errorf("the hub was told %q, want %q", got, lines)
	}
	r.hub.text = nil
}

func (r *logRig) wantFailure(part string) {
	r.t.Helper()
	switch err := r.failed(); {
	case part == "" && err != nil:
		r.t.Errorf("tables cannot be followed: %v", err)
	case part != "" && (err == nil || !strings.Contains(err.Error(), part)):
		r.t.Errorf("got %v, want %q", err, part)
	}
}

// kept lists the transactions that the log has.
func (r *logRig) keptOnes() (ends []revision.LSN) {
	r.t.Helper()
	err := r.log.Read(r.t.Context(), map[catalog.OID]bool{1: true}, r.log.Begin(), r.log.End(), func(tx *keep.Tx) (bool, error) {
		ends = append(ends, tx.End)
		return true, nil
	})
	if err != nil {
		r.t.Error(err)
	}
	return ends
}

func TestKeptLogContinues(t *testing.T) {
	r := newLogRig(t)
	r.wantFailure("has not been reached")
	r.connect(100, 100, "")
	r.wantFailure("")
	r.transaction(110)
	r.transaction(120)
	r.want("connected false", "to 100", "transaction 110", "to 110", "transaction 120", "to 120")
	if at, err := r.flush(); at != 120 || err != nil {
		t.Errorf("durable up to %d, %v", at, err)
	}
	// In the same process.
	r.connect(120, 130, "")
	r.transaction(130)
	r.want("connected true", "to 120", "transaction 130", "to 130")
	// In another one, which is sent again what was not acknowledged.
	r.close()
	r.start()
	r.connect(105, 130, "")
	for _, end := range []revision.LSN{110, 120, 130, 140} {
		r.transaction(end)
	}
	r.want("connected true", "to 105", "transaction 110", "to 110", "transaction 120", "to 120", "transaction 130", "to 130",
		"transaction 140", "to 140")
	if got := r.keptOnes(); !slices.Equal(got, []revision.LSN{110, 120, 130, 140}) {
		t.Errorf("the log has %v", got)
	}
}

// Whatever breaks the log off ends every shape.
func TestKeptLogBeginsAnew(t *testing.T) {
	for name, breakOff := range map[string]func(r *logRig){
		"a gap": func(r *logRig) { r.start(); r.connect(125, 130, "") },
		"another epoch": func(r *logRig) {
			r.start()
			r.connect(120, 120, "")
			r.hub.text = nil
			r.connect(120, 130, "the slot was lost")
		},
		"the database went back": func(r *logRig) { r.start(); r.connect(115, 115, "") },
		"another publication": func(r *logRig) {
			r.db.Exec(r.t, "DROP PUBLICATION tidemark; CREATE PUBLICATION tidemark FOR TABLE items, others")
			r.start()
			r.connect(120, 130, "")
		},
		"a table left": func(r *logRig) {
			r.db.Exec(r.t, "ALTER PUBLICATION tidemark DROP TABLE others")
			r.start()
			r.connect(120, 130, "")
		},
		"a table left and came": func(r *logRig) {
			r.db.Exec(r.t, "ALTER PUBLICATION tidemark DROP TABLE others; ALTER PUBLICATION tidemark ADD TABLE others")
			r.start()
			r.connect(120, 130, "")
		},
		"an operation left": func(r *logRig) {
			r.db.Exec(r.t, "ALTER PUBLICATION tidemark SET (publish = 'insert')")
			r.start()
			r.connect(120, 130, "")
		},
		"what was kept is untold": func(r *logRig) { os.Remove(filepath.Join(r.dir, membershipFile)); r.start(); r.connect(120, 130, "") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newLogRig(t)
			r.connect(100, 100, "")
			r.transaction(110)
			r.transaction(120)
			r.close()
			breakOff(r)
			if strings.Contains(name, "left") || strings.Contains(name, "publication") || strings.Contains(name, "untold") {
				// What is published was asked when the log of this test was long past.
				r.wantFailure("the log is behind that")
				r.move(r.now.at)
				r.attach()
			}
			r.wantFailure("")
			if got := r.hub.text; len(got) != 2 && len(got) != 3 || !slices.Contains(got, "connected false") {
				t.Errorf("the hub was told %q", got)
			}
			if got := r.keptOnes(); got != nil {
				t.Errorf("the log has %v", got)
			}
		})
	}
}

func TestMoreTablesBreakNothing(t *testing.T) {
	r := newLogRig(t)
	r.connect(100, 100, "")
	r.transaction(110)
	r.db.Exec(t, "CREATE TABLE more (id int PRIMARY KEY); ALTER PUBLICATION tidemark ADD TABLE more")
	r.look(t.Context())
	r.wantFailure("")
	r.close()
	// That it was there is known from then on.
	r.db.Exec(t, "ALTER PUBLICATION tidemark DROP TABLE more; ALTER PUBLICATION tidemark ADD TABLE more")
	r.start()
	r.connect(110, 110, "")
	r.wantFailure("a table was taken out of the publication")
}

func TestATableThatLeavesIsNoticed(t *testing.T) {
	r := newLogRig(t)
	r.connect(100, 100, "")
	r.transaction(110)
	r.hub.text = nil
	r.db.Exec(t, "ALTER PUBLICATION tidemark DROP TABLE others; ALTER PUBLICATION tidemark ADD TABLE others")
	r.look(t.Context())
	r.wantFailure("a table was taken out of the publication")
	r.transaction(120)
	r.attach()
	r.wantFailure("the log is behind that")
	if at, err := r.flush(); at != 120 || err != nil {
		t.Errorf("held back at %d, %v", at, err)
	}
	r.want()
	r.move(r.now.at)
	r.attach()
	r.wantFailure("")
	r.want("connected false", fmt.Sprintf("to %d", r.now.at))
	if r.log.Begin() < r.now.at {
		t.Errorf("the log begins at %v, before %v", r.log.Begin(), r.now.at)
	}
}

// A failure of the hub is one of the log.
func TestFailureHoldsNothingBack(t *testing.T) {
	r := newLogRig(t)
	r.connect(100, 100, "")
	r.hub.err = fmt.Errorf("no space left")
	r.transaction(110)
	r.wantFailure("no space left")
	if at, err := r.flush(); at != 110 || err != nil {
		t.Errorf("held back at %d, %v", at, err)
	}
	if _, err := r.Open(t.Context(), live.Definition{Table: "items"}, ""); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a shape was opened: %v", err)
	}
	r.transaction(120)
	r.hub.err = nil
	r.hub.text = nil
	r.attach()
	r.wantFailure("")
	r.transaction(130)
	r.want("connected false", "to 120", "transaction 130", "to 130")
	if got := r.keptOnes(); !slices.Equal(got, []revision.LSN{130}) {
		t.Errorf("the log has %v", got)
	}
}

// A log that has begun anew and could not be used after all has not joined up when
// it can.
func TestALogThatBeginsAnewInTwoSteps(t *testing.T) {
	r := newLogRig(t)
	r.connect(100, 100, "")
	r.transaction(110)
	r.hub.err = fmt.Errorf("no space left")
	r.transaction(120)
	r.hub.err, r.hub.text = nil, nil
	r.move(130)
	r.db.Exec(t, "CREATE TABLE more (id int PRIMARY KEY); ALTER PUBLICATION tidemark ADD TABLE more")
	var err error
	if r.now, err = readMembership(t.Context(), r.pool, "tidemark"); err != nil {
		t.Fatal(err)
	}
	r.why = ""
	dir := r.o.Dir
	r.o.Dir = filepath.Join(dir, "nowhere")
	r.attach()
	r.wantFailure("nowhere")
	r.want()
	r.o.Dir = dir
	r.attach()
	r.wantFailure("")
	r.want("connected false", "to 130")
}

// Between Apply and Advance the frontier is behind what was offered.
func TestALogThatBeginsAnewBetweenTwoCalls(t *testing.T) {
	r := newLogRig(t)
	r.connect(100, 100, "")
	r.hub.err = fmt.Errorf("no space left")
	r.transaction(110)
	r.apply(&change.Transaction{XID: 9, End: 120, Commit: 119, Time: time.Unix(1, 0)})
	r.hub.err = nil
	r.attach()
	if r.log.Begin() != 120 {
		t.Errorf("the log begins at %d: transaction 120 is not in it", r.log.Begin())
	}
}

func TestADirectoryThatCannotBeUsed(t *testing.T) {
	r := newLogRig(t)
	r.close()
	if err := os.RemoveAll(r.dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.wantFailure("not a directory")
	r.connect(100, 100, "")
	r.transaction(110)
	r.wantFailure("not a directory")
	if at, err := r.flush(); at != 110 || err != nil {
		t.Errorf("held back at %d, %v", at, err)
	}
	if err := os.Remove(r.dir); err != nil {
		t.Fatal(err)
	}
	// Nothing moves, and it is found out.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.run(ctx); close(done) }()
	for end := time.Now().Add(10 * time.Second); r.failed() != nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	<-done
	r.wantFailure("")
	r.transaction(120)
	if got := r.keptOnes(); !slices.Equal(got, []revision.LSN{120}) {
		t.Errorf("the log has %v", got)
	}
}

// The process before lets go of the log a little later than of the slot.
func TestTheProcessBeforeStillHoldsTheLog(t *testing.T) {
	r := newLogRig(t)
	r.connect(100, 100, "")
	r.transaction(110)
	before := *r
	r.start()
	r.wantFailure("another process")
	time.AfterFunc(300*time.Millisecond, func() { before.close() })
	r.connect(110, 110, "")
	r.wantFailure("")
	r.want("connected true", "to 110")
}
