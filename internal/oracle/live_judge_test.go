package oracle

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// liveJudge holds what followers received against Postgres.
type liveJudge struct {
	*liveRun
	log    []logged
	in     []*transaction
	byEnd  map[revision.LSN]*transaction
	named  map[string]*transaction
	rep    *replica
	wanted map[*liveShape][]wantedTx
	// rows are what shapes hold after the first so many transactions.
	rows  map[state]string
	loads map[uint64]string // what subsets are to hold, by their mark
	tally map[string]int
	told  map[string]int
	// composite are the types that have members; large the answers of whose past
	// little is kept.
	composite map[uint32]bool
	large     map[*liveShape]bool
	style     string // of intervals, that the replica has
}

type state struct {
	sh *liveShape
	n  int
}

// check is a comparison to be made: what a follower holds as of a state.
type liveCheck struct {
	state
	held string
	// merged is compared instead of held, if it is not nil.
	merged *merge
	x      *exchange
}

// judge compares everything that was received.
func (lr *liveRun) judge() *liveJudge {
	ctx := context.Background()
	conn := lr.connect(lr.db)
	defer conn.Close(ctx)
	j := &liveJudge{
		liveRun: lr, byEnd: map[revision.LSN]*transaction{}, named: map[string]*transaction{}, wanted: map[*liveShape][]wantedTx{},
		rows: map[state]string{}, loads: map[uint64]string{}, tally: map[string]int{}, told: map[string]int{},
		composite: map[uint32]bool{}, large: map[*liveShape]bool{},
	}
	var err error
	if j.log, err = readRows(ctx, conn); err != nil {
		lr.Fatal(err)
	}
	order := make([]commit, len(j.log))
	for i := range j.log {
		order[i] = j.log[i].commit
	}
	var lost []*transaction
	j.in, lost = ordered(lr.txs, order, lr.lives)
	for _, tx := range lost {
		if !tx.acked.IsZero() && !tx.silent() && !(tx.async && lr.run.lives.crashed(tx.life)) {
			lr.Errorf("it was acknowledged and is not in the log: %s", tx)
		}
	}
	for _, tx := range lr.txs {
		if tx.token != "" {
			j.named[tx.token] = tx
		}
		if tx.end != 0 {
			j.byEnd[tx.end] = tx
		}
	}
	for msg, n := range lr.strange {
		lr.Errorf("a writer failed %d times with: %s", n, msg)
	}
	c := &checker{run: lr.run, tally: map[string]int{}, in: j.in}
	c.openReplica(ctx)
	j.rep = c.rep
	if err := j.rep.exec(ctx, liveSettings); err != nil {
		lr.Fatal(err)
	}
	j.style = "iso_8601"
	rows, err := j.rep.conn.Query(ctx, "SELECT oid FROM pg_type WHERE typtype = 'c'")
	if err != nil {
		lr.Fatal(err)
	}
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&oid}, func() error { j.composite[oid] = true; return nil }); err != nil {
		lr.Fatal(err)
	}
	for _, f := range lr.followers {
		if f.sh.account != "" && lr.s.large() {
			j.large[f.sh] = true // what others get of the answer may be
		}
		for _, x := range f.got {
			j.large[f.sh] = j.large[f.sh] || slices.ContainsFunc(x.messages, func(m liveMessage) bool { return len(row(m.Value).text()) > longA })
		}
	}
	for _, sh := range lr.shapes {
		if sh.rel != nil && sh.refused() == "" {
			j.wanted[sh] = j.wants(sh)
		}
	}
	var checks []liveCheck
	found := map[*follower]int{}
	for _, f := range lr.followers {
		bad, some := j.read(f, f.got)
		for _, b := range bad {
			j.fail(f, b)
		}
		found[f] = len(bad)
		checks = append(checks, some...)
		for i := range some {
			some[i].x.owner = f
		}
	}
	sort.SliceStable(checks, func(a, b int) bool { return checks[a].n < checks[b].n })
	at := 0
	for _, k := range checks {
		if k.n > at {
			if err := j.rep.apply(ctx, j.in[at:k.n]); err != nil {
				lr.Fatal(err)
			}
			at = k.n
		}
		if _, ok := j.rows[k.state]; !ok && k.x.subset == nil {
			if j.rows[k.state], err = j.ask(k.sh); err != nil {
				lr.Fatal(err)
			}
			j.tally["queries"]++
		} else if k.x.subset != nil {
			if err := j.compareSubset(k); err != nil {
				lr.Fatal(err)
			}
		}
		j.tally["compared"]++
		if what := j.differs(k); what != "" {
			j.fail(k.x.owner, fmt.Sprintf("%s\n%s\n%s\n%s", what, k.x, c.around(at), j.lately(k)))
		}
	}
	if at < len(j.in) {
		if err := j.rep.apply(ctx, j.in[at:]); err != nil {
			lr.Fatal(err)
		}
	}
	for _, one := range []*pgx.Conn{conn, j.rep.conn} {
		if _, err := one.Exec(ctx, liveSettings, pgx.QueryExecModeSimpleProtocol); err != nil {
			lr.Fatal(err)
		}
	}
	c.compareTables(ctx, conn)
	j.summary()
	return j
}

func (j *liveJudge) close() { _ = j.rep.conn.Close(context.Background()) }

// differs makes a comparison, for which Postgres has been asked.
func (j *liveJudge) differs(k liveCheck) string {
	switch {
	case k.x.subset != nil:
		if want := j.loads[*k.x.subset.Metadata.Mark]; want != k.held {
			return "a subset is not what Postgres has in its snapshot: " + difference(k.held, want)
		}
	case k.merged != nil:
		j.tally["merges compared"]++
		if what := k.merged.differs(k.sh, j.rows[k.state]); what != "" {
			return "what it merged is not what Postgres has at that position: " + what
		}
	case k.held != j.rows[k.state]:
		return "it does not hold what Postgres has at that position: " + difference(k.held, j.rows[k.state])
	}
	return ""
}

// lately tells what the log has for a shape around a state.
func (j *liveJudge) lately(k liveCheck) string {
	var b strings.Builder
	for _, tx := range j.wanted[k.sh] {
		if n := j.holding(tx.end); n >= k.n-3 && n <= k.n+1 {
			fmt.Fprintf(&b, "the log has for it, transaction %d, end %d: %v\n", tx.xid, uint64(tx.end), tx.messages)
		}
	}
	return b.String()
}

// difference shows where two lists of rows differ.
func difference(held, want string) string {
	h, w := strings.Split(held, "\n"), strings.Split(want, "\n")
	only := func(a, b []string) (out []string) {
		b = slices.Clone(b)
		for _, r := range a {
			if i := slices.Index(b, r); i >= 0 {
				b = slices.Delete(b, i, i+1)
			} else if r != "" {
				out = append(out, r)
			}
		}
		return out
	}
	return short(fmt.Sprintf("\nonly the follower has\n%s\nonly Postgres has\n%s\nrows: %d and %d", strings.Join(only(h, w), "\n"), strings.Join(only(w, h), "\n"), len(h)-1, len(w)-1))
}

func (j *liveJudge) fail(f *follower, what string) {
	sort, _, _ := strings.Cut(what, ":")
	j.tally["violations"]++
	if j.told[sort]++; j.told[sort] > 2 {
		return
	}
	lately := ""
	for _, x := range f.got[max(0, len(f.got)-4):] {
		lately += "\nlately " + x.String()
	}
	j.Errorf("%s\n%s%s", what, f, lately)
}

func (j *liveJudge) holding(p revision.LSN) int {
	return sort.Search(len(j.in), func(i int) bool { return j.in[i].end > p })
}

// ask asks the replica for what a shape holds.
func (j *liveJudge) ask(sh *liveShape) (string, error) {
	if sh.req != nil {
		return j.askAnswer(sh)
	}
	cols := "*"
	if sh.columns != nil {
		cols = strings.Join(sh.columns, ", ")
	}
	rows, err := j.selected(fmt.Sprintf("SELECT %s FROM %s WHERE %s", cols, sh.rel.name, sh.condition), sh.params)
	return rowsText(slices.Values(rows)), err
}

// intervals has the replica write intervals in a style.
func (j *liveJudge) intervals(style string) error {
	if j.style == style {
		return nil
	}
	j.style = style
	return j.rep.exec(context.Background(), "SET IntervalStyle = "+style)
}

func (j *liveJudge) query(style, sql string, params [][]byte) (*pgconn.Result, error) {
	if err := j.intervals(style); err != nil {
		return nil, err
	}
	res := j.rep.conn.PgConn().ExecParams(context.Background(), sql, params, nil, nil, nil).Read()
	if res.Err != nil {
		return nil, fmt.Errorf("%w\nin: %s", res.Err, sql)
	}
	return res, nil
}

// selected returns the rows of a statement.
func (j *liveJudge) selected(sql string, params [][]byte) ([]row, error) {
	res, err := j.query("iso_8601", sql, params)
	if err != nil {
		return nil, err
	}
	return rowsOf(res), nil
}

func rowsOf(res *pgconn.Result) []row {
	var rows []row
	for _, values := range res.Rows {
		r := row{}
		for i, v := range values {
			r[res.FieldDescriptions[i].Name] = nil
			if v != nil {
				s := string(v)
				r[res.FieldDescriptions[i].Name] = &s
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// askAnswer asks the replica for the rows of an answer.
func (j *liveJudge) askAnswer(sh *liveShape) (string, error) {
	sql, _ := sh.req.ep.numbered()
	params := sh.req.values()
	res, err := j.query("iso_8601", sql, params)
	if err != nil {
		return "", err
	}
	if len(res.Rows) > 0 && slices.ContainsFunc(res.FieldDescriptions, func(f pgconn.FieldDescription) bool { return !slices.Contains(scalars, f.DataTypeOID) }) {
		// Inside a document, intervals are as they are in the answer.
		plain, err := j.query("postgres", sql, params)
		if err != nil {
			return "", err
		}
		// What has members is an object there.
		object, err := j.query("postgres", asJSON(sql, len(res.FieldDescriptions)), params)
		if err != nil {
			return "", err
		}
		for i, f := range res.FieldDescriptions {
			for n := range res.Rows {
				if j.composite[f.DataTypeOID] {
					res.Rows[n][i] = object.Rows[n][i]
				} else if f.DataTypeOID != pgtype.IntervalOID && f.DataTypeOID != pgtype.IntervalArrayOID {
					res.Rows[n][i] = plain.Rows[n][i]
				}
			}
		}
	}
	rows := slices.DeleteFunc(rowsOf(res), func(r row) bool {
		return sh.account != "" && !sameValue(r[sh.req.ep.account], &sh.account)
	})
	return rowsText(slices.Values(rows)), nil
}

// scalars are types that do not depend on how intervals are written.
var scalars = []uint32{pgtype.BoolOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.VarcharOID, pgtype.UUIDOID, pgtype.DateOID}

// rowsText is rows as a text that does not tell their order.
func rowsText(rows func(func(row) bool)) string {
	var texts []string
	for r := range rows {
		texts = append(texts, r.text())
	}
	slices.Sort(texts)
	return strings.Join(texts, "\n") + "\n"
}

// summary fails a run that was too quiet to show anything.
func (j *liveJudge) summary() {
	refused := 0
	for _, sh := range j.shapes {
		if sh.refused() != "" {
			refused++
			j.Logf("refused: %s\n%s", sh.refused(), sh)
		}
	}
	for _, f := range j.followers {
		j.tally["broken off"] += f.broken
		if f.stuck != "" {
			j.fail(f, f.stuck)
		}
	}
	var names []string
	for name := range j.tally {
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, name := range names {
		fmt.Fprintf(&b, ", %s %d", name, j.tally[name])
	}
	j.Logf("%s: %d transactions, %d shapes of which %d were refused, %d followers%s", j.lane.name, len(j.in), len(j.shapes), refused, len(j.followers), b.String())
	if n := j.tally["violations"]; n > 0 {
		j.Errorf("%d violations", n)
	}
	if refused*2 > len(j.shapes) {
		j.Errorf("%d of %d shapes were refused", refused, len(j.shapes))
	}
	least := map[string]int{"compared": len(j.followers), "changes": 10, "queries": 10}
	if j.lane.maxLog > 0 {
		if !j.lane.gone && !j.lane.redefined {
			least["outlived"] = 2
		}
		if j.lane.child { // else tails may be enough for all
			least["trimmed"] = 1
		}
	}
	if j.lane.smallDisk {
		j.tally["turned away"] = j.tally["status 409"] + j.tally["status 503"]
		least["turned away"] = 1
	}
	if j.lane.subsets {
		least["subsets"], least["merges compared"] = 10, 10
		if !j.lane.soakOnly { // faults leave less to merge
			least["merged"] = 1
		}
	}
	for name, n := range least {
		if j.tally[name] < n {
			j.Errorf("the run was too quiet: %s %d, of at least %d", name, j.tally[name], n)
		}
	}
	if len(j.in) < fewTransactions {
		j.Errorf("the run was too quiet: %d transactions", len(j.in))
	}
}
