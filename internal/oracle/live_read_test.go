package oracle

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// reading goes through what one follower received, and applies it as a client
// does that trusts nothing.
type reading struct {
	j      *liveJudge
	f      *follower
	sh     *liveShape
	bad    []string
	checks []liveCheck
	// conflicts is how often it was told to begin again.
	conflicts int

	handle string
	begun  time.Time // when it began with the handle
	first  time.Time // when that was answered
	end    place
	seen   uint64 // the latest position that it was up to date at
	some   bool   // it has received a change
	last   place  // of that
	over   bool   // that was the last of its transaction
	rank   int    // of its operation, in an endpoint's difference

	known      bool // the rows are all there are
	rows       map[string]row
	inSnapshot bool
	snap       *revision.Snapshot

	pending []received // since the last up-to-date
	next    int        // of what the log has; -1: it is not known where it began
	rested  bool       // the last response said up to date
	heard   bool       // one before did

	merge *merge // of one who loads rows
}

// received is a change with its position.
type received struct {
	lsn revision.LSN
	xid uint32
	m   *liveMessage
	x   *exchange
}

// read judges a follower by itself, and returns what is to be compared.
func (j *liveJudge) read(f *follower, got []*exchange) ([]string, []liveCheck) {
	r := &reading{j: j, f: f, sh: f.sh}
	for _, x := range got {
		r.exchange(x)
		if len(r.bad) > 3 {
			break
		}
	}
	r.sequence(^revision.LSN(0), false)
	return r.bad, r.checks
}

func (r *reading) fail(x *exchange, sort, format string, args ...any) {
	s := sort + ": " + fmt.Sprintf(format, args...)
	if x != nil {
		s += "\nin " + x.String()
	}
	r.bad = append(r.bad, s)
}

func (r *reading) exchange(x *exchange) {
	r.j.tally[fmt.Sprint("status ", x.status)]++
	if x.status != http.StatusOK {
		r.refusal(x)
		return
	}
	if x.subset != nil {
		r.load(x)
		return
	}
	if x.body != "" {
		r.fail(x, "it cannot be read", "%s", x.body)
	}
	fresh := x.offset == "-1" || x.offset == "now"
	if fresh {
		r.begin(x)
	} else if x.newHandle != r.handle {
		r.fail(x, "the handle changed on the way", "it was %q", r.handle)
	}
	end, err := parsePlace(x.end)
	if err != nil {
		r.fail(x, "no offset", "%v", err)
		return
	}
	for i := range x.messages {
		r.message(x, &x.messages[i], i == len(x.messages)-1, end)
	}
	changed := slices.ContainsFunc(x.messages, func(m liveMessage) bool { return m.Headers.Operation != "" })
	switch {
	case fresh && !changed:
	case end.before(r.end), changed && !fresh && end == r.end:
		r.fail(x, "the offset did not go on", "from %v to %v", r.end, end)
	}
	r.end = end
	if x.upToDate != x.saysUpToDate() {
		r.fail(x, "the header says something else than the message", "up to date")
	}
	if r.rested = x.saysUpToDate(); r.rested {
		r.upToDate(x)
	}
}

// refusal judges a response that brings nothing.
func (r *reading) refusal(x *exchange) {
	l := r.j.lane
	switch {
	case x.status == http.StatusConflict:
		trimmed := r.trimmed(x)
		r.sequence(^revision.LSN(0), false)
		r.handle, r.pending, r.known, r.next = "", nil, false, -1
		if !x.stream && x.body != live.MustRefetch {
			r.fail(x, "it is not told to begin again", "%s", x.body)
		}
		switch {
		case trimmed:
			r.j.tally["trimmed"]++
		case l.smallDisk:
		case r.sh.rel != nil && (l.gone || l.redefined && r.redefined()), r.sh.req != nil && (l.redefined || r.j.large[r.sh]):
		default:
			r.fail(x, "nothing here ends a shape", "")
		}
	case x.status == http.StatusServiceUnavailable || x.status == http.StatusGatewayTimeout || x.status == http.StatusTooManyRequests:
		if !l.unavailable {
			r.fail(x, "it was not served", "")
		}
	case x.status == http.StatusBadRequest && x.subset != nil && strings.Contains(x.body, `"subset__where":`):
		r.j.tally["subsets refused"]++ // such a condition is no shape's either
	case x.status == http.StatusBadRequest && x.need != "" && strings.Contains(x.body, "token") && l.crashes:
	case x.status < 500 && r.handle == "" && x.newHandle == "" && r.sh.refused() != "":
	default:
		r.fail(x, "no request here deserves this", "")
	}
}

// redefined reports whether the table was changed as often as the follower was
// told to begin again: what writes a table anew, or changes a column that the
// shape rests on. A new handle may meet the change once more.
func (r *reading) redefined() bool {
	r.conflicts++
	n := 0
	for _, tx := range r.j.in {
		for _, e := range tx.effects {
			words := strings.Fields(e.sql)
			if len(words) > 3 && words[0] == "ALTER" && words[1] == "TABLE" && (words[2] == r.sh.rel.t.name || words[2]+"_child" == r.sh.rel.t.name) {
				n++
			}
		}
	}
	return r.conflicts <= 2*n
}

// begin forgets everything.
func (r *reading) begin(x *exchange) {
	r.sequence(^revision.LSN(0), false)
	*r = reading{j: r.j, f: r.f, sh: r.sh, bad: r.bad, checks: r.checks, conflicts: r.conflicts, handle: x.newHandle, begun: x.begun, first: x.ended, rows: map[string]row{}, next: -1}
	r.known = x.offset == "-1" && !r.sh.changesOnly
	if r.f.loads() {
		r.merge = &merge{rows: map[string]row{}, known: map[string]bool{}}
	}
	r.inSnapshot = r.known
	if r.known {
		r.next = 0
	}
	if x.newHandle == "" {
		r.fail(x, "no handle", "")
	}
	if r.known && x.saysUpToDate() {
		r.fail(x, "the beginning of a snapshot is up to date", "")
	}
}

func (r *reading) message(x *exchange, m *liveMessage, last bool, end place) {
	switch m.Headers.Control {
	case "":
	case "up-to-date":
		if !last {
			r.fail(x, "something follows after up-to-date", "")
		}
		return
	case "snapshot-end":
		if !r.inSnapshot && r.known {
			r.fail(x, "a snapshot ends twice", "")
		}
		r.inSnapshot = false
		r.snap = snapshotOf(m)
		return
	default:
		r.fail(x, "an unknown control message", "%q", m.Headers.Control)
		return
	}
	r.j.tally["changes"]++
	if m.Key == nil || m.Value == nil {
		r.fail(x, "a message lacks its key or value", "%+v", m)
		return
	}
	if r.sh.account != "" {
		r.checkAccount(x, m)
	}
	if m.Headers.LSN == "" {
		if !r.inSnapshot || m.Headers.Operation != "insert" {
			r.fail(x, "a row of the snapshot after its end", "%s", *m.Key)
		}
	} else {
		r.position(x, m, end)
	}
	if r.known {
		r.apply(x, m)
	}
}

// position judges where a change stands.
func (r *reading) position(x *exchange, m *liveMessage, end place) {
	lsn, err := strconv.ParseUint(m.Headers.LSN, 10, 64)
	if err != nil || m.Headers.OpPosition == nil {
		r.fail(x, "a change without a position", "%+v", m.Headers)
		return
	}
	if r.inSnapshot && r.known {
		r.fail(x, "a change inside the snapshot", "%s", *m.Key)
	}
	p := place{lsn, *m.Headers.OpPosition}
	rank := slices.Index([]string{"delete", "update", "insert"}, m.Headers.Operation)
	if r.some {
		switch {
		case !r.last.before(p):
			r.fail(x, "positions do not grow", "%v after %v", p, r.last)
		case p.lsn == r.last.lsn && r.over:
			r.fail(x, "something follows after the last of its transaction", "%v after %v", p, r.last)
		case r.sh.req != nil && p.lsn == r.last.lsn && rank < r.rank:
			r.fail(x, "a difference is not in order", "%s at %v", m.Headers.Operation, p)
		}
	}
	if end.before(p) {
		r.fail(x, "a change is behind the offset", "%v, and the offset is %v", p, end)
	}
	if r.end != (place{}) && !r.end.before(p) {
		r.fail(x, "a change is before the offset that was asked for", "%v, and the offset was %v", p, r.end)
	}
	if r.seen != 0 && p.lsn <= r.seen {
		r.fail(x, "a change comes after it was up to date", "%v, and it was up to date at %d", p, r.seen)
	}
	r.some, r.last, r.over, r.rank = true, p, m.Headers.Last, rank
	got := received{lsn: revision.LSN(lsn), m: m, x: x}
	if len(m.Headers.TxIDs) == 1 {
		got.xid = m.Headers.TxIDs[0]
	}
	if r.merge != nil {
		r.merge.take(r, x, m, lsn, got.xid)
	}
	if r.sh.rel != nil {
		r.pending = append(r.pending, got)
		if !slices.Equal(m.Headers.Relation, []string{"public", r.sh.rel.name}) {
			r.fail(x, "a message is of another table", "%q", m.Headers.Relation)
		}
	}
}

func (r *reading) checkAccount(x *exchange, m *liveMessage) {
	name := ""
	if r.sh.req != nil {
		name = r.sh.req.ep.account
	} else {
		name = r.sh.rule.account.name
	}
	for _, values := range []map[string]*string{m.Value, m.Old} {
		if v, ok := values[name]; ok && !sameValue(v, &r.sh.account) {
			r.fail(x, "a row of another account", "%+v", m)
		}
	}
}

// apply changes the rows as a message says.
func (r *reading) apply(x *exchange, m *liveMessage) {
	held, ok := r.rows[*m.Key]
	switch op := m.Headers.Operation; {
	case op == "insert" && ok, (op == "update" || op == "delete") && !ok:
		r.fail(x, "it cannot be applied", "%s of %s, which is there: %v", op, *m.Key, ok)
	case op == "insert":
		r.rows[*m.Key] = m.Value
	case op == "delete":
		for name, v := range m.Value {
			if !sameValue(v, held[name]) {
				r.fail(x, "a delete is of other values", "%s: %s is %s", *m.Key, name, held.text())
			}
		}
		delete(r.rows, *m.Key)
	case op == "update":
		now := maps.Clone(held)
		for name, v := range m.Value {
			now[name] = v
		}
		for name, v := range m.Old {
			if !sameValue(v, held[name]) {
				r.fail(x, "an old value is not what the follower has", "%s: %s is %s", *m.Key, name, held.text())
			}
		}
		if r.sh.full {
			for name, v := range now {
				if _, told := m.Old[name]; !told && !sameValue(v, held[name]) {
					r.fail(x, "a value changed without an old value", "%s: %s was %s", *m.Key, name, held.text())
				}
			}
		}
		r.rows[*m.Key] = now
	default:
		r.fail(x, "no operation", "%q", op)
	}
}

// upToDate judges that the follower has everything as of a position.
func (r *reading) upToDate(x *exchange) {
	m := &x.messages[len(x.messages)-1]
	at, err := strconv.ParseUint(strings.TrimLeft(m.Headers.Seen, "0"), 10, 64)
	if err != nil {
		r.fail(x, "up to date at no position", "%q", m.Headers.Seen)
		return
	}
	for _, text := range []string{x.token, m.Headers.Token} {
		if t, err := revision.ParseToken(text); err != nil || t.LSN != revision.LSN(at) || t.Kind != revision.KindPosition {
			r.fail(x, "the token is of another position", "%q is %+v, and it is up to date at %d", text, t, at)
		}
	}
	if at < r.seen && !r.j.lane.child { // a new process may be behind for a moment
		r.fail(x, "it is up to date at an earlier position", "%d after %d", at, r.seen)
	}
	if r.some && at < r.last.lsn {
		r.fail(x, "it has received more than it is said to have", "%d, and %v was received", at, r.last)
	}
	r.seen = at
	if need := r.j.needs(x.need); need > revision.LSN(at) {
		r.fail(x, "it does not hold what was asked for", "%d, and it was to hold %d", at, uint64(need))
	}
	if x.final && len(r.j.in) > 0 && r.j.in[len(r.j.in)-1].end > revision.LSN(at) {
		r.fail(x, "at the end it does not hold everything", "%d", at)
	}
	if r.inSnapshot {
		r.fail(x, "it is up to date within a snapshot", "")
	}
	r.sequence(revision.LSN(at), true)
	r.heard = true
	r.outlives(x)
	k := liveCheck{state: state{r.sh, r.j.holding(revision.LSN(at))}, merged: r.merged(at), x: x}
	if r.known {
		k.held = rowsText(maps.Values(r.rows))
	}
	if r.known || k.merged != nil {
		r.checks = append(r.checks, k)
	}
}

// needs returns the position that a token asks for.
func (j *liveJudge) needs(token string) revision.LSN {
	t, err := revision.ParseToken(token)
	if token == "" || err != nil {
		return 0
	}
	if t.Kind == revision.KindTransaction {
		if tx := j.named[token]; tx != nil {
			return tx.end
		}
		return 0
	}
	return t.LSN
}
