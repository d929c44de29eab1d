package query

import (
	"math/rand/v2"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
)

const (
	roundsOf  = 12 // rounds with one binding
	changesOf = 12 // changes in a round
)

// judge holds what is known of one answer to what becomes of it.
type judge struct {
	*refineOracle
	seed        uint64
	rnd         *rand.Rand
	q           *randomQuery
	b           *Binding
	placed      Placed
	keys        []KeyRows
	deps        []match.Dependency
	static      []match.Dependency
	ungrouped   []match.Dependency
	without     map[string][]match.Dependency // by mechanism
	uncertain   []match.Dependency            // with witnesses that no row joins
	query       string
	args        []*string
	behindFirst int  // of so many changes the snapshot does not know
	keysOnly    bool // the log carries no more of old rows
}

func (o *refineOracle) binding(seed uint64, rnd *rand.Rand, q *randomQuery, b *Binding) {
	j := &judge{refineOracle: o, seed: seed, rnd: rnd, q: q, b: b}
	j.query, j.args = answerQuery(b, q.ordered)
	j.refine()
	j.reduce()
	for _, k := range j.keys {
		if o.keys++; k.Cut {
			o.many++
		}
	}
	if attempts(o.t, o.conn, nil, j.query, j.args, o.world.reader)[0].Answer == "" && rnd.IntN(4) > 0 {
		return // most changes would do nothing
	}
	for i := range roundsOf {
		j.keysOnly, j.behindFirst = rnd.IntN(8) == 0, 0
		if rnd.IntN(4) == 0 {
			j.behindFirst = rnd.IntN(changesOf)
		}
		j.round(i == roundsOf-1)
		if o.t.Failed() {
			return
		}
	}
}

// refine asks what is known of the answer that there is now.
func (j *judge) refine() {
	j.deps, j.placed, j.keys = refined(j.t, j.conn, j.b)
	j.static, j.ungrouped = j.b.Deps(), slices.Clone(j.deps)
	for i := range j.ungrouped {
		if g := j.ungrouped[i].Groups; g != nil {
			j.ends += g.Len()
		}
		j.ungrouped[i].Groups = nil
	}
}

// reduce finds out what would be known without each of the mechanisms.
func (j *judge) reduce() {
	cut := func(is func(s keyStatement) bool) []match.Dependency {
		keys := slices.Clone(j.keys)
		for i, s := range j.b.Endpoint.keys {
			if is(s) {
				keys[i] = KeyRows{Cut: true}
			}
		}
		return j.b.Refine(j.placed, keys)
	}
	j.without = map[string][]match.Dependency{
		"chains":      cut(func(s keyStatement) bool { return s.chain != nil }),
		"idle values": cut(func(s keyStatement) bool { return s.idle != nil }),
	}
	if p := j.b.Endpoint.pages.edge; p != nil && len(p.then) > 0 && j.placed.Edge != nil {
		j.without["further tables of the order"] = j.firstTable(p)
	}
	j.uncertain = slices.Clone(j.deps)
	for i, s := range j.b.Endpoint.keys {
		if s.witness == nil || j.keys[i].Cut {
			continue
		}
		for k := range j.uncertain {
			if j.uncertain[k].Reads == j.b.Endpoint.Reads[s.witness.ref] {
				j.uncertain[k].Witnesses = match.NewWitnesses(s.witness.same, s.witness.key, j.keys[i].Rows, false)
			}
		}
	}
}

// firstTable returns the dependencies with keys that only the first table of the
// order cuts.
func (j *judge) firstTable(p *edgePlan) []match.Dependency {
	args := append(slices.Clone(j.b.Args), j.placed.Args...)
	for i, c := range p.then {
		last := map[bool]string{false: "2147483647", true: "-2147483648"}[c.Desc]
		if c.Class != match.ClassInt {
			return nil
		}
		args[len(j.b.Args)+p.notNull+i] = []byte(last)
	}
	keys := slices.Clone(j.keys)
	for i := range keys {
		rows := run(j.t, j.conn, j.b.Endpoint.KeyStatement(i, false), args, j.b.Endpoint.KeyTypes())
		if keys[i] = (KeyRows{Rows: rows}); len(rows) > MaxKeyRows {
			keys[i] = KeyRows{Cut: true}
		}
	}
	return j.b.Refine(j.placed, keys)
}

// round makes a few changes and judges them one after the other. With backwards
// they have been made when the answer is computed, and are judged from the last
// to the first.
func (j *judge) round(backwards bool) {
	var tables, changes []string
	for len(tables) < changesOf {
		table := j.world.tables[j.rnd.IntN(len(j.world.tables))]
		for range 1 + j.rnd.IntN(4) {
			tables, changes = append(tables, table), append(changes, j.world.change(j.q, j.rnd, table))
		}
	}
	if backwards {
		j.exec("SAVEPOINT round")
		defer j.exec("ROLLBACK TO round")
		results := attemptsKept(j.t, j.conn, changes, j.query, j.args, j.world.reader, true)
		j.refine()
		j.judgeBack(tables, results)
		return
	}
	j.judge(tables, attempts(j.t, j.conn, changes, j.query, j.args, j.world.reader))
}

func (j *judge) judgeBack(tables []string, results []textsAttempted) {
	for i := len(results) - 2; i >= 0; i-- {
		c := j.logged(tables[i], results[i+1])
		if c == nil {
			continue
		}
		if match.Affects(j.deps, c) {
			return
		}
		if results[i].Answer != results[i+1].Answer {
			j.wrong("a change from before the answer, which it does not touch, changes it", tables[i], i, results)
			return
		}
	}
}

func (j *judge) judge(tables []string, results []textsAttempted) {
	touched, counted, unrefined, more := false, false, false, false
	ix, uncertain := match.NewIndex[int](), match.NewIndex[int]()
	ix.Add(new(match.Handle[int]), 1, j.deps)
	uncertain.Add(new(match.Handle[int]), 1, j.uncertain)
	for i, r := range results[1:] {
		c := j.logged(tables[i], r)
		if c == nil {
			continue
		}
		touched = touched || match.Affects(j.deps, c)
		if i < j.behindFirst {
			// The log was ahead of the snapshot: what it brought is compared with
			// the answer before an index knows of it.
			counted = touched
		} else {
			ix.Touch(c, func(int, *match.Reads) { counted = true })
			uncertain.Touch(c, func(int, *match.Reads) { more = true })
		}
		unrefined = unrefined || match.Affects(j.static, c)
		changed := r.Answer != results[i].Answer
		if changed && (!touched || !counted) {
			j.wrong("a change that changes the answer does not touch it", tables[i], i, results)
			return
		}
		if !touched && match.Affects(j.ungrouped, c) {
			j.behind++
		}
		if i == 0 {
			for _, s := range append(slices.Clone(j.q.shapes), "") {
				j.count(s, changed, counted, unrefined)
			}
		}
		if counted {
			return
		}
		for mechanism, deps := range j.without {
			if !touched && deps != nil && match.Affects(deps, c) {
				j.uses[mechanism]++
			}
		}
		if touched {
			j.uses["a witness less"]++
		}
		if more {
			j.uses["a witness more"]++
			return
		}
	}
}

func (j *judge) wrong(what, table string, i int, results []textsAttempted) {
	r := results[i+1]
	j.t.Errorf("seed %d: %s (the snapshot behind by %d, keys only %v)\n%s\nwith %s\n%s\nkeys %s edge %v\ntable %s: %s -> %s\nafter %d others\nanswer: %s\n     -> %s",
		j.seed, what, j.behindFirst, j.keysOnly, j.q.sql, j.b.Key, explained(j.b), showKeys(j.b, j.keys), j.placed.Edge,
		table, showTexts(r.Old), showTexts(r.New), i, results[i].Answer, r.Answer)
}

// logged makes a change as the log tells it, or nil where there was none.
func (j *judge) logged(table string, r textsAttempted) *change.Change {
	c := j.changeOf(table, r)
	if c == nil || !j.keysOnly || c.Old == nil {
		return c
	}
	key := 1 // columns, the first ones
	if table == "member" {
		key = 2
	}
	same := c.Op == change.Update && slices.EqualFunc(c.Old[:key], c.New[:key], change.Value.Equal)
	if same {
		c.Old = nil
		return c
	}
	c.Old = slices.Clone(c.Old)
	for i := key; i < len(c.Old); i++ {
		c.Old[i] = change.Value{}
	}
	return c
}
