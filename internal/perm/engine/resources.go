package engine

import (
	"context"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Found is an object of a lookup's answer.
type Found struct {
	ID      string
	Has     Has      // Conditional or Yes
	Missing []string // of Conditional; not to be changed
}

// Page is a part of a lookup's answer. The answer is ordered by id.
type Page struct {
	After string // the part begins behind this id; empty: it is the first
	Limit int    // 0: everything
}

// reached is something that the subject has, or may have.
type reached struct {
	spot  spot
	level int32
	sure  bool // without any condition
}

// LookupResources answers of which objects of a type a subject has a relation or
// permission: those for which Check says Yes or Conditional. What it returns is
// not to be changed.
//
// It goes from the subject to what it stands in, and from there to what follows
// from that, as far as the permission may rest on it. What follows without a
// condition is evaluated only as far as it is not known already; the rest is
// checked. Nothing follows from what is checked in vain.
//
// Errors are those of Check.
func LookupResources(ctx context.Context, v View, typ, permission string, subject tuple.Subject, given map[string]any, page Page, opts Options) ([]Found, error) {
	m, err := v.Model.resolve(typ, permission)
	if err != nil {
		return nil, err
	}
	d, sm, err := v.Model.resolveSubject(subject.Type, subject.Relation)
	if err != nil {
		return nil, err
	}
	if subject.ID == tuple.Wildcard {
		return nil, &WildcardError{Field: "subject"}
	}
	r := v.request(ctx, given, opts.Depth)
	defer r.release()
	s := r.object(subject.Object, noSubject)
	r.setSubject(s, d, sm)
	if !m.reach.has(int(r.kind)) {
		return nil, nil
	}
	if found, ok := r.cachedList(m); ok {
		return page.of(found), nil
	}
	w := &walk{request: r, goal: m, subject: subject.ID}
	if err := w.run(); err != nil {
		return nil, err
	}
	slices.SortFunc(w.found, func(a, b Found) int { return strings.Compare(a.ID, b.ID) })
	r.keepList(m, w.found)
	return page.of(w.found), nil
}

// of cuts the part out of the whole answer.
func (p Page) of(found []Found) []Found {
	if p.After != "" {
		from, _ := slices.BinarySearchFunc(found, p.After, func(f Found, after string) int {
			if f.ID <= after {
				return -1
			}
			return 1
		})
		found = found[from:]
	}
	if p.Limit > 0 && len(found) > p.Limit {
		found = found[:p.Limit]
	}
	return found
}

// walk is a lookup of resources.
type walk struct {
	*request
	goal    *member
	subject string // the subject's id
	seen    memo
	queue   []reached
	found   []Found
}

func (w *walk) run() error {
	w.seen.reset()
	start := reached{spot: at(w.request.subject, w.member), sure: true}
	if w.member != 0 {
		w.seen.find(start.spot)
		w.queue = append(w.queue, start)
		if w.member == w.goal.id {
			w.found = append(w.found, Found{ID: w.subject, Has: Yes})
		}
	} else if err := w.follow(start, w.kind, w.model.from[w.kind]); err != nil {
		return err
	}
	if w.everyone != 0 {
		all := reached{spot: at(w.everyone, 0), sure: true}
		if err := w.edges(all, 0, w.model.wild[w.definition]); err != nil {
			return err
		}
	}
	for i := 0; i < len(w.queue); i++ {
		if err := w.stopped(); err != nil {
			return err
		}
		from := w.queue[i]
		k := w.model.members[from.spot.member()].kind(w.model)
		if err := w.follow(from, k, w.model.from[k]); err != nil {
			return err
		}
	}
	return nil
}

// follow finds what follows from something reached.
func (w *walk) follow(from reached, k kind, relations []*member) error {
	o := from.spot.object()
	if p := w.names.pairOf[from.spot.member()]; from.spot.member() == 0 || p != 0 {
		if err := w.edges(from, p, relations); err != nil {
			return err
		}
	}
	for _, s := range w.model.steps[k] {
		if !w.goal.needs.has(int(s.permission.id)) {
			continue
		}
		if s.relation == nil {
			if err := w.reach(s.permission, o, from, from.sure, s.leaf); err != nil {
				return err
			}
			continue
		}
		p, subRel := w.names.pairOf[s.relation.id], graph.Pair(0)
		if s.subject != 0 {
			if subRel = w.names.pairOf[s.subject]; subRel == 0 {
				continue
			}
		}
		if p == 0 || o >= lastObject {
			continue
		}
		w.work++
		for edges := w.snap.In(o, subRel, p); ; {
			e, ok := edges.Next()
			if !ok {
				break
			}
			traits, ok := w.traits(s.relation, e)
			if !ok {
				continue
			}
			sure := from.sure && traits == nil && s.leaf.op == opArrow
			if err := w.reach(s.permission, e.Resource(), from, sure, s.leaf); err != nil {
				return err
			}
		}
	}
	return nil
}

// edges finds the relations in which something reached stands.
func (w *walk) edges(from reached, subRel graph.Pair, relations []*member) error {
	o := from.spot.object()
	if o >= lastObject {
		return nil
	}
	for _, m := range relations {
		p := w.names.pairOf[m.id]
		if p == 0 || !w.goal.needs.has(int(m.id)) {
			continue
		}
		w.work++
		for edges := w.snap.In(o, subRel, p); ; {
			e, ok := edges.Next()
			if !ok {
				break
			}
			traits, ok := w.traits(m, e)
			if !ok {
				continue
			}
			if err := w.reach(m, e.Resource(), from, from.sure && traits == nil, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// reach notes that a member of an object follows from something, if that is so.
// If sure, the leaf of the permission is known to hold.
func (w *walk) reach(m *member, o graph.ID, from reached, sure bool, leaf *node) error {
	s := at(o, m.id)
	before := len(w.seen.entries)
	if i := w.seen.find(s); int(i) < before {
		return nil
	}
	level := from.level + 1
	v := yes
	switch {
	case !sure || int(level) > w.limit:
		v = w.ask(m, o, 1)
	case leaf != nil:
		v = w.known(m.expr, leaf, o)
	}
	if v.has == No {
		return nil
	}
	if m == w.goal {
		if v.has == failed {
			return v.err
		}
		id := w.subject
		if o < lastObject {
			_, id = w.snap.Name(o)
		}
		w.found = append(w.found, Found{ID: id, Has: v.has, Missing: v.fields()})
	}
	w.queue = append(w.queue, reached{s, level, v.has == Yes})
	return nil
}

// known evaluates a permission of which one leaf holds.
func (r *request) known(n, leaf *node, o graph.ID) value {
	if n == leaf {
		return yes
	}
	switch n.op {
	case opUnion:
		v := no
		for _, c := range n.children { // first the one that is known best
			if c.holds(leaf) {
				v = r.known(c, leaf, o)
			}
		}
		for _, c := range n.children {
			if v.has == Yes {
				break
			}
			if !c.holds(leaf) {
				v = or(v, r.eval(c, o, 1))
			}
		}
		return v
	case opIntersection:
		v := yes
		for _, c := range n.children {
			if c.holds(leaf) {
				v = and(v, r.known(c, leaf, o))
			} else {
				v = and(v, r.eval(c, o, 1))
			}
			if v.has == No {
				break
			}
		}
		return v
	case opExclusion:
		v := r.known(n.children[0], leaf, o)
		if v.has == No {
			return no
		}
		return minus(v, r.subtracted(n.children[1], o, 1))
	}
	return r.eval(n, o, 1)
}
