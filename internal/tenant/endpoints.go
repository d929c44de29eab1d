package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/answer"
	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/live/follow"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// endpointSet is what is served at one time. It is immutable.
type endpointSet struct {
	served []*served
	byName map[string]*served
	router *query.Router
	of     map[*query.Endpoint]*served
	// known are the tables that existed when the set was analysed.
	known map[catalog.OID]bool
	// seen has a snapshot that no analysis is older than, or as of which nothing
	// that an analysis rests on had changed.
	seen        answer.Seen
	fingerprint string
}

// served is one endpoint with its answers.
type served struct {
	file     *query.File
	endpoint *query.Endpoint
	group    *answer.Group
	// tables, if not nil, are all that its answers depend on: an audit found one
	// wrong that was followed more precisely.
	tables []match.Dependency
	why    string
	// broken says why the endpoint cannot be served since a definition changed.
	broken []query.Problem
	// definition is what its followers need to know; nil before the first comes.
	definition atomic.Pointer[follow.Definition]
	defining   sync.Mutex // held by who asks the database for it
}

// ProblemsError lists everything that is wrong with a folder of endpoints.
type ProblemsError struct{ Problems []query.Problem }

func (e *ProblemsError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// load reads the folder and analyses every file.
func (t *Tenant) load(ctx context.Context) (*endpointSet, error) {
	files, problems := query.LoadDir(t.opts.Endpoints)
	if len(problems) > 0 && len(files) == 0 {
		return nil, &ProblemsError{problems}
	}
	set, found, err := t.analyse(ctx, files, nil)
	if err != nil {
		return nil, err
	}
	if problems = append(problems, found...); len(problems) > 0 {
		return nil, &ProblemsError{problems}
	}
	return set, nil
}

// Reload reads the folder again. Unless everything in it is well, what was
// served before stays, and the error says why.
func (t *Tenant) Reload(ctx context.Context) error {
	t.replan.mu.Lock()
	defer t.replan.mu.Unlock()
	files, problems := query.LoadDir(t.opts.Endpoints)
	if len(problems) > 0 {
		return &ProblemsError{problems}
	}
	old := t.endpoints.Load()
	set, problems, err := t.analyse(ctx, files, old)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return &ProblemsError{problems}
	}
	// Files that did not change keep their answers, if no definition did.
	same, err := t.unchanged(ctx, old)
	if err != nil {
		return err
	}
	for _, s := range set.served {
		if was := old.byName[s.endpoint.Name]; same != nil && was != nil && sameFile(was.file, s.file) {
			s.group, s.tables, s.why = was.group, was.tables, was.why
		}
	}
	t.swap(old, set)
	return nil
}

// sameFile reports whether two readings of a file mean the same endpoint.
func sameFile(a, b *query.File) bool {
	return a.Path == b.Path && a.Route.Path == b.Route.Path && a.TTL == b.TTL && a.One == b.One &&
		a.Volatile == b.Volatile && a.SQL == b.SQL && slices.Equal(a.Params, b.Params) &&
		slices.Equal(a.Key, b.Key) && a.Account == b.Account
}

// swap makes a set the one that is served. Answers of groups that are not in it
// go.
func (t *Tenant) swap(old, set *endpointSet) {
	t.endpoints.Store(set)
	kept := map[*answer.Group]bool{}
	for _, s := range set.served {
		kept[s.group] = true
	}
	for _, s := range old.served {
		if !kept[s.group] {
			t.store.Retire(s.group)
		}
	}
	t.store.ForgetDefinitions(&set.seen)
}

// analyse asks the database about every file. Endpoints of old lend their
// counters. Problems are those of the files; an error is the database's.
func (t *Tenant) analyse(ctx context.Context, files []*query.File, old *endpointSet) (*endpointSet, []query.Problem, error) {
	conn, err := t.connectForAnalysis(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer closeConn(conn)
	// The fingerprint has to be of a moment before any analysis: one taken
	// afterwards would hold a change that some endpoint was analysed without, and
	// nobody would see that it came.
	before, err := t.connectForAnalysis(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer closeConn(before)
	if _, err := before.Exec(ctx, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	set := &endpointSet{byName: map[string]*served{}, of: map[*query.Endpoint]*served{}}
	if err := t.look(ctx, before, set); err != nil {
		return nil, nil, err
	}
	var problems []query.Problem
	for _, f := range files {
		ep, found, err := query.Analyze(ctx, conn, f, query.Options{Publication: t.opts.Publication, DefaultTTL: t.opts.TTL})
		if err != nil {
			return nil, nil, fmt.Errorf("%w: %s: %w", ErrDatabaseGone, f.Path, err)
		}
		if len(found) > 0 {
			problems = append(problems, found...)
			if old == nil {
				continue
			}
			// Served before and not any more: its requests are told why.
			was := old.byFile(f)
			if was == nil {
				continue
			}
			set.add(&served{file: f, endpoint: was.endpoint, group: t.newGroup(was.endpoint, was), broken: found})
			continue
		}
		var was *served
		if old != nil {
			was = old.byName[ep.Name]
		}
		now := &served{file: f, endpoint: ep, group: t.newGroup(ep, was)}
		if was != nil && was.tables != nil && sameFile(was.file, f) {
			now.tables, now.why = wholeTables(ep), was.why
		}
		set.add(now)
	}
	if set.fingerprint, err = t.fingerprint(ctx, before, set); err != nil {
		return nil, nil, err
	}
	t.triggers.Store(hasTriggers(ctx, conn))
	eps := make([]*query.Endpoint, len(set.served))
	for i, s := range set.served {
		eps[i] = s.endpoint
	}
	set.router = query.NewRouter(eps)
	return set, problems, nil
}

func (set *endpointSet) add(s *served) {
	set.served = append(set.served, s)
	set.byName[s.endpoint.Name] = s
	set.of[s.endpoint] = s
}

func (set *endpointSet) anyBroken() bool {
	return slices.ContainsFunc(set.served, func(s *served) bool { return s.broken != nil })
}

func (set *endpointSet) byFile(f *query.File) *served {
	for _, s := range set.served {
		if s.file == f {
			return s
		}
	}
	return nil
}

func (t *Tenant) newGroup(ep *query.Endpoint, was *served) *answer.Group {
	g := &answer.Group{
		Name: ep.Name, Volatile: ep.Volatile, Guarded: t.opts.GuardAccounts && ep.Account >= 0, Counters: &answer.Counters{},
	}
	if was != nil {
		g.Counters = was.group.Counters
	}
	if ep.Statement(query.Plain, true) != "" {
		g.Batch = t.opts.Batch
	}
	g.Query = func(key string) (*answer.Query, error) { return t.queryOf(key, g) }
	return g
}

// queryOf makes the query of a group's answer from its key.
func (t *Tenant) queryOf(key string, g *answer.Group) (*answer.Query, error) {
	set := t.endpoints.Load()
	path, rawQuery, _ := strings.Cut(key, "?")
	s, b, err := set.bind(path, rawQuery)
	if err != nil {
		return nil, err
	}
	if s.group != g {
		return nil, errRetired
	}
	return t.query(set, s, b), nil
}

var errRetired = errors.New("the answer belongs to an endpoint that was analysed again")

// wholeTables are dependencies that every change of a table touches.
func wholeTables(ep *query.Endpoint) []match.Dependency {
	deps := make([]match.Dependency, len(ep.Reads))
	for i, r := range ep.Reads {
		deps[i].Reads = &match.Reads{Tables: r.Tables, Name: r.Name}
	}
	return deps
}

// connectForAnalysis opens a connection that may create the temporary function
// through which the database analyses a statement. It is rolled back.
func (t *Tenant) connectForAnalysis(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, t.config)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDatabaseGone, withoutSecret(err))
	}
	return conn, nil
}

func (t *Tenant) fingerprint(ctx context.Context, conn *pgx.Conn, set *endpointSet) (string, error) {
	var eps []*query.Endpoint
	for _, s := range set.served {
		eps = append(eps, s.endpoint)
	}
	print, err := query.Fingerprint(ctx, conn, eps)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	return print, nil
}

// hasTriggers reports whether definition changes are reported through the log.
func hasTriggers(ctx context.Context, conn *pgx.Conn) bool {
	var n int
	err := conn.QueryRow(ctx, `SELECT count(*) FROM pg_event_trigger
		WHERE evtname LIKE 'tidemark%' AND evtenabled IN ('O', 'A')
		  AND evtevent IN ('ddl_command_end', 'sql_drop')`).Scan(&n)
	return err == nil && n >= 2
}

// poll compares definitions with what was analysed. It is what notices their
// changes where no event trigger does, and a second opinion where one does.
func (t *Tenant) poll(ctx context.Context) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeConn(conn)
		}
	}()
	ticks := 0
	every(ctx, t.opts.PollInterval, func() {
		if ticks++; t.triggers.Load() && ticks%10 != 0 {
			return
		}
		if conn == nil || conn.IsClosed() {
			var err error
			if conn, err = pgx.ConnectConfig(ctx, t.config); err != nil {
				conn = nil
				return
			}
		}
		set := t.endpoints.Load()
		print, err := t.fingerprint(ctx, conn, set)
		if err != nil || set != t.endpoints.Load() {
			return
		}
		if print == set.fingerprint {
			if set.anyBroken() {
				t.replan.request() // it may be well again
			}
			return
		}
		t.log.Info("a definition changed, as a comparison shows")
		if t.tables != nil {
			t.tables.recheck()
		}
		t.store.Redefine()
		t.replan.request()
	})
}

// replanner has one analysis at a time, on request.
type replanner struct {
	mu   sync.Mutex
	wake chan struct{}
}

func (r *replanner) request() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// replanLoop analyses the endpoints again whenever a definition changed.
func (t *Tenant) replanLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.replan.wake:
		}
		for pause := 20 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 2*time.Second) {
			done, err := t.reanalyse(ctx)
			if err != nil {
				t.log.Warn("endpoints could not be analysed again", "err", err)
			} else if done {
				break
			} else {
				pause = min(pause, 50*time.Millisecond) // requests wait for it
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// reanalyse analyses the files that are served again. It reports false when the
// change that asked for it cannot be seen by queries yet.
func (t *Tenant) reanalyse(ctx context.Context) (bool, error) {
	t.replan.mu.Lock()
	defer t.replan.mu.Unlock()
	old := t.endpoints.Load()
	if same, err := t.unchanged(ctx, old); err != nil || same != nil {
		if err == nil {
			t.endpoints.Store(same)
			t.store.ForgetDefinitions(&same.seen)
			return !t.store.Outdated(&same.seen), nil
		}
		return false, err
	}
	files := make([]*query.File, len(old.served))
	for i, s := range old.served {
		files[i] = s.file
	}
	set, problems, err := t.analyse(ctx, files, old)
	// A change that commits while the catalogs are read can make an endpoint
	// look as if it made no sense.
	for n := 0; err == nil && n < 3 && len(problems) > 0 && !old.anyBroken(); n++ {
		time.Sleep(50 * time.Millisecond << n)
		set, problems, err = t.analyse(ctx, files, old)
	}
	if err != nil {
		return false, err
	}
	for _, p := range problems {
		t.log.Error("an endpoint cannot be served since a definition changed", "problem", p.String())
	}
	seen := !t.store.Outdated(&set.seen)
	t.swap(old, set)
	return seen, nil
}

// confirm sees to it that what is served was analysed after the log is followed:
// definitions from before, the log does not bring. Until then nothing is kept.
func (t *Tenant) confirm(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if t.replan.mu.TryLock() {
		defer t.replan.mu.Unlock()
		if same, err := t.unchanged(ctx, t.endpoints.Load()); err == nil && same != nil {
			t.endpoints.Store(same)
			return
		}
	}
	t.replan.request()
}

// unchanged returns the set with a newer snapshot if nothing that its analyses
// rest on has changed, as after most definitions, and nil otherwise.
func (t *Tenant) unchanged(ctx context.Context, old *endpointSet) (*endpointSet, error) {
	if old.anyBroken() {
		return nil, nil
	}
	conn, err := t.connectForAnalysis(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	set := *old
	if err := t.look(ctx, conn, &set); err != nil {
		return nil, err
	}
	if set.fingerprint, err = t.fingerprint(ctx, conn, old); err != nil || set.fingerprint != old.fingerprint {
		return nil, err
	}
	t.triggers.Store(hasTriggers(ctx, conn))
	return &set, nil
}

// look notes the snapshot as of which a set is analysed and the tables that
// there are.
func (t *Tenant) look(ctx context.Context, conn *pgx.Conn, set *endpointSet) error {
	if t.store != nil { // else it opens, before any session
		set.seen.Session = t.store.Session()
	}
	var snap string
	err := conn.QueryRow(ctx, "SELECT pg_current_snapshot()::text").Scan(&snap)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	if set.seen.Snapshot, err = revision.ParseSnapshot(snap); err != nil {
		return err
	}
	rows, err := conn.Query(ctx, "SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')")
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	set.known = map[catalog.OID]bool{}
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&oid}, func() error {
		set.known[catalog.OID(oid)] = true
		return nil
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrDatabaseGone, err)
	}
	return nil
}

// awaitReplan waits until another set than this one is served.
func (t *Tenant) awaitReplan(ctx context.Context, set *endpointSet) error {
	t.replan.request()
	for t.endpoints.Load() == set {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// withoutSecret keeps a connection string's password out of an error: the text
// of a parse error is redacted, what it wraps need not be.
func withoutSecret(err error) error {
	var parse *pgconn.ParseConfigError
	if errors.As(err, &parse) {
		return errors.New(parse.Error())
	}
	return err
}
