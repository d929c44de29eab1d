package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// merge is what a follower of changes alone has who loads rows on the way. A
// message is passed over if it is of a row of a subset whose snapshot saw the
// transaction; a subset is of no more interest once the log has passed it.
type merge struct {
	rows map[string]row
	// known are the rows that it has had: if they are there, it has them. Of others
	// an update may bring some columns only.
	known map[string]bool
	loads []*loaded
}

// loaded is a subset that messages may still be a part of.
type loaded struct {
	snap *revision.Snapshot
	lsn  uint64
	keys map[string]bool
}

// passed forgets the subsets that a position is behind.
func (m *merge) passed(lsn uint64) {
	m.loads = slices.DeleteFunc(m.loads, func(l *loaded) bool { return l.lsn <= lsn })
}

// take takes a message of the stream.
func (m *merge) take(r *reading, x *exchange, msg *liveMessage, lsn uint64, xid uint32) {
	m.passed(lsn)
	m.loads = slices.DeleteFunc(m.loads, func(l *loaded) bool { return revision.XID(xid) >= l.snap.Xmax })
	key := *msg.Key
	if slices.ContainsFunc(m.loads, func(l *loaded) bool { return l.keys[key] && inside(l.snap, xid) }) {
		r.j.tally["merged"]++
		return
	}
	held, ok := m.rows[key]
	differs := func(values row) {
		for name, v := range values {
			if !sameValue(v, held[name]) {
				r.fail(x, "what was loaded is not what a change is of", "%s: %s of %s", key, name, held.text())
			}
		}
	}
	switch op := msg.Headers.Operation; {
	case op == "insert" && ok, op != "insert" && !ok && m.known[key]:
		r.fail(x, "it cannot be merged", "%s of %s, which is there: %v", op, key, ok)
	case op == "insert":
		m.rows[key], m.known[key] = msg.Value, true
	case op == "update" && ok:
		differs(msg.Old)
		held = maps.Clone(held)
		maps.Copy(held, msg.Value)
		m.rows[key] = held
	case op == "update" && r.sh.full:
		m.rows[key], m.known[key] = msg.Value, true
	case op == "delete" && ok:
		differs(msg.Value)
		delete(m.rows, key)
	}
}

// load judges a subset by itself, and takes it in.
func (r *reading) load(x *exchange) {
	s := x.subset
	if x.body != "" {
		r.fail(x, "it cannot be read", "%s", x.body)
		return
	}
	if fresh := x.offset == "-1" || x.offset == "now"; fresh {
		r.begin(x)
	} else if x.newHandle != r.handle {
		r.fail(x, "the handle changed on the way", "it was %q", r.handle)
	}
	end, err := parsePlace(x.end)
	if err != nil || r.end != (place{}) && end != r.end {
		r.fail(x, "a subset moves its reader", "from %v to %v, %v", r.end, x.end, err)
	}
	r.end, r.rested = end, false
	r.j.tally["subsets"]++
	lsn, err := strconv.ParseUint(s.Metadata.LSN, 10, 64)
	if err != nil || s.Metadata.Mark == nil {
		r.fail(x, "a subset does not say where it is", "%+v", s.Metadata)
		return
	}
	l := &loaded{snap: subsetSnapshot(s), lsn: lsn, keys: map[string]bool{}}
	var rows []row
	for _, m := range s.Data {
		switch h := m.Headers; {
		case m.Key == nil || m.Value == nil || h.Operation != "insert" || h.LSN != "" || h.Mark == nil || *h.Mark != *s.Metadata.Mark || !slices.Equal(h.Relation, []string{"public", r.sh.rel.name}):
			r.fail(x, "a row of a subset is none", "%+v", m)
			continue
		case l.keys[*m.Key] || *m.Key != r.sh.key(m.Value):
			r.fail(x, "a row of a subset has another's key", "%s of %s", *m.Key, row(m.Value).text())
		}
		if r.sh.account != "" {
			r.checkAccount(x, &m.liveMessage)
		}
		l.keys[*m.Key], r.merge.known[*m.Key] = true, true
		r.merge.rows[*m.Key] = m.Value
		rows = append(rows, m.Value)
	}
	r.merge.loads = append(r.merge.loads, l)
	r.checks = append(r.checks, liveCheck{state: state{r.sh, r.j.firstLacking(l.snap)}, held: s.text(rows), x: x})
}

func subsetSnapshot(s *subset) *revision.Snapshot {
	m := &liveMessage{}
	m.Headers.Xmin, m.Headers.Xmax, m.Headers.Xip = s.Metadata.Xmin, s.Metadata.Xmax, s.Metadata.Xip
	return snapshotOf(m)
}

// text is rows in the order that was asked for, if one was.
func (s *subset) text(rows []row) string {
	if s.orderBy == "" {
		return rowsText(slices.Values(rows))
	}
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(r.text() + "\n")
	}
	return b.String()
}

// firstLacking returns how many transactions come before the first that a
// snapshot does not have.
func (j *liveJudge) firstLacking(s *revision.Snapshot) int {
	for i, tx := range j.in {
		if !inside(s, uint32(tx.xid)) {
			return i
		}
	}
	return len(j.in)
}

// compareSubset finds what Postgres has of a subset as of its snapshot: the
// transactions before the state, which have been applied, and later ones that were
// visible earlier than others before them.
func (j *liveJudge) compareSubset(k liveCheck) error {
	s := k.x.subset
	var more []*transaction
	snap := subsetSnapshot(s)
	for _, tx := range j.in[k.n:] {
		if inside(snap, uint32(tx.xid)) {
			more = append(more, tx)
		}
	}
	if err := j.intervals("iso_8601"); err != nil {
		return err // inside, it would be undone
	}
	ctx := context.Background()
	return j.rep.without(ctx, func() error {
		if len(more) > 0 {
			j.tally["subsets beyond"]++
			if err := j.rep.apply(ctx, more); err != nil {
				return err
			}
		}
		rows, err := j.askSubset(k.x.owner.sh, s)
		j.loads[*s.Metadata.Mark] = s.text(rows)
		return err
	})
}

// merged is what a follower had, to be compared.
func (r *reading) merged(lsn uint64) *merge {
	if r.merge == nil {
		return nil
	}
	r.merge.passed(lsn)
	// The position that a subset names is behind the one that its snapshot saw.
	if slices.ContainsFunc(r.merge.loads, func(l *loaded) bool { return l.lsn > lsn+1 }) {
		r.j.tally["merged and ahead"]++
		return nil
	}
	return &merge{rows: maps.Clone(r.merge.rows), known: maps.Clone(r.merge.known)}
}

// differs compares what is held with all rows that Postgres has, of which those
// that were never loaded may be missing.
func (m *merge) differs(sh *liveShape, want string) string {
	var wrong []string
	there := map[string]bool{}
	for text := range strings.Lines(want) {
		var r row
		if text == "\n" {
			continue
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			panic(err)
		}
		key := sh.key(r)
		there[key] = true
		switch held, ok := m.rows[key]; {
		case ok && held.text() != r.text():
			wrong = append(wrong, fmt.Sprintf("it has %s, and Postgres has %s", held.text(), r.text()))
		case !ok && m.known[key]:
			wrong = append(wrong, "it lacks "+r.text())
		}
	}
	for key, held := range m.rows {
		if !there[key] {
			wrong = append(wrong, "it still has "+held.text())
		}
	}
	return short(strings.Join(wrong, "\n"))
}
