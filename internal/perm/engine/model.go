package engine

import (
	"sync/atomic"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// memberID numbers the relations and permissions of a model. 0 is none, which as
// a subject's relation means the object itself.
type memberID uint32

// kind is a kind of subject: the objects of a definition, or those who have a
// member of it, or, where relationships are concerned, all objects of a
// definition at once.
type kind int

// everyone is all objects of a definition at once.
func everyone(definition int) kind { return kind(-1 - definition) }

// Model is a schema made ready for questions. It is immutable but for what it
// remembers, and shared by any number of goroutines.
type Model struct {
	schema      *schema.Schema
	definitions map[string]*definition
	members     []*member // by id; the first is nil

	// from holds the relations that a kind of subject may stand in directly.
	from map[kind][]*member
	// wild holds by definition the relations that take all of its objects at once.
	wild [][]*member
	// steps holds by kind the permissions that may follow from having it.
	steps map[kind][]step
	// climb is how to find the groups that a subject is in.
	climb ladder

	names atomic.Pointer[names]
}

type definition struct {
	name    string
	index   int
	members map[string]*member
}

// member is a relation or a permission.
type member struct {
	id         memberID
	definition *definition
	name       string
	expr       *node // of a permission; nil: a relation

	// Of a relation: which subjects it takes.
	direct   bitset // by definition
	wildcard bitset // by definition
	usersets []*member
	traits   bool // whether relationships may have any
	strict   bool // whether some must have any

	reach bitset    // the kinds of subject that may have it
	needs bitset    // the members, itself among them, that it rests on
	rests []*member // the relations among those
	// fits: who has it is found by climbing.
	fits bool
	// flat: it is a relation whose sets of subjects are all found by climbing.
	flat bool
	// terms of a relation, by kind, in no order.
	terms []terms
}

func (m *member) relation() bool { return m.expr == nil }
func (m *member) kind(model *Model) kind {
	return kind(len(model.definitions)) + kind(m.id)
}

type op uint8

const (
	opUnion op = iota
	opIntersection
	opExclusion // the base, and what is taken away
	opRef
	opArrow
	opAll
	opNil
	opSelf
)

// node is an expression of a permission.
type node struct {
	op       op
	children []*node
	member   *member   // opRef
	relation *member   // opArrow, opAll: what is walked
	targets  []*member // opArrow, opAll: by definition, what is asked there; nil: there is none
	// The nodes below it are numbered first to last, and it is the first.
	first, last int
}

func (n *node) holds(leaf *node) bool { return n.first <= leaf.first && leaf.first <= n.last }

// step leads from having a kind of subject to a permission.
type step struct {
	permission *member
	leaf       *node
	relation   *member // of an arrow: where the resources are
	subject    memberID
}

// Compile makes a schema ready.
func Compile(s *schema.Schema) *Model {
	m := &Model{schema: s, definitions: make(map[string]*definition, len(s.Definitions)), members: []*member{nil}, from: map[kind][]*member{}, steps: map[kind][]step{}}
	for i, d := range s.Definitions {
		def := &definition{name: d.Name, index: i, members: map[string]*member{}}
		m.definitions[d.Name] = def
		for _, r := range d.Relations {
			m.add(def, r.Name)
		}
		for _, p := range d.Permissions {
			m.add(def, p.Name)
		}
	}
	m.wild = make([][]*member, len(s.Definitions))
	for _, d := range s.Definitions {
		def := m.definitions[d.Name]
		for _, r := range d.Relations {
			m.relation(def.members[r.Name], r)
		}
	}
	for _, d := range s.Definitions {
		def := m.definitions[d.Name]
		for _, p := range d.Permissions {
			number := 0
			def.members[p.Name].expr = m.expr(def, p.Expr, &number)
		}
	}
	for _, x := range m.members[1:] {
		if !x.relation() {
			m.stepsInto(x, x.expr, false)
		}
	}
	m.findReach()
	m.findNeeds()
	m.findLadder()
	return m
}

func (m *Model) add(d *definition, name string) {
	x := &member{id: memberID(len(m.members)), definition: d, name: name}
	m.members = append(m.members, x)
	d.members[name] = x
}

func (m *Model) relation(x *member, r *schema.Relation) {
	for _, t := range r.Types {
		d := m.definitions[t.Type]
		if d == nil {
			continue
		}
		x.traits = x.traits || t.Caveat != "" || t.Expiration
		switch {
		case t.Wildcard:
			x.allow(everyone(d.index), t)
			if !x.wildcard.has(d.index) {
				x.wildcard.set(d.index)
				m.wild[d.index] = append(m.wild[d.index], x)
			}
		case t.Relation == "":
			x.allow(kind(d.index), t)
			if !x.direct.has(d.index) {
				x.direct.set(d.index)
				m.from[kind(d.index)] = append(m.from[kind(d.index)], x)
			}
		case d.members[t.Relation] != nil:
			u := d.members[t.Relation]
			x.allow(u.kind(m), t)
			if !x.takes(u.id) {
				x.usersets = append(x.usersets, u)
				m.from[u.kind(m)] = append(m.from[u.kind(m)], x)
			}
		}
	}
	for i := range x.terms {
		x.strict = x.strict || !x.terms[i].plain
	}
}

// takes reports whether a relation takes those who have a member.
func (x *member) takes(id memberID) bool {
	for _, u := range x.usersets {
		if u.id == id {
			return true
		}
	}
	return false
}

func (m *Model) expr(d *definition, e schema.Expr, number *int) *node {
	n := &node{op: opNil, first: *number}
	*number++
	children := func(exprs ...schema.Expr) {
		for _, c := range exprs {
			n.children = append(n.children, m.expr(d, c, number))
		}
	}
	switch e := e.(type) {
	case schema.Union:
		n.op = opUnion
		children(e.Children...)
	case schema.Intersection:
		n.op = opIntersection
		children(e.Children...)
	case schema.Exclusion:
		n.op = opExclusion
		children(e.Base, e.Subtracted)
	case schema.Ref:
		if x := d.members[e.Name]; x != nil {
			n.op, n.member = opRef, x
		}
	case schema.Arrow:
		x := d.members[e.Relation]
		if x == nil {
			break
		}
		n.op, n.relation = opArrow, x
		if e.Kind == schema.ArrowAll {
			n.op = opAll
		}
		n.targets = make([]*member, len(m.definitions))
		for _, t := range m.definitions {
			if x.leadsTo(t) {
				n.targets[t.index] = t.members[e.Target]
			}
		}
	case schema.Self:
		n.op = opSelf
	}
	n.last = *number - 1
	return n
}

// leadsTo reports whether objects of a definition stand in a relation, by
// themselves or with a relation of theirs. Arrows do not tell the two apart.
func (x *member) leadsTo(d *definition) bool {
	if x.direct.has(d.index) {
		return true
	}
	for _, u := range x.usersets {
		if u.definition == d {
			return true
		}
	}
	return false
}

// stepsInto notes what leads to a permission. From the subtracted side of an
// exclusion nothing does.
func (m *Model) stepsInto(x *member, n *node, subtracted bool) {
	note := func(from kind, s step) {
		s.permission, s.leaf = x, n
		m.steps[from] = append(m.steps[from], s)
	}
	switch n.op {
	case opExclusion:
		m.stepsInto(x, n.children[0], subtracted)
	case opRef:
		note(n.member.kind(m), step{})
	case opSelf:
		note(kind(x.definition.index), step{})
	case opArrow, opAll:
		for _, t := range n.targets {
			if t == nil {
				continue
			}
			if n.relation.direct.has(t.definition.index) {
				note(t.kind(m), step{relation: n.relation})
			}
			for _, u := range n.relation.usersets {
				if u.definition == t.definition {
					note(t.kind(m), step{relation: n.relation, subject: u.id})
				}
			}
		}
	default:
		for _, c := range n.children {
			m.stepsInto(x, c, subtracted)
		}
	}
}

// findReach finds for every member the kinds of subject that may have it.
func (m *Model) findReach() {
	for changed := true; changed; {
		changed = false
		for _, x := range m.members[1:] {
			var r bitset
			r.set(int(x.kind(m)))
			if x.relation() {
				r.merge(x.direct)
				r.merge(x.wildcard)
				for _, u := range x.usersets {
					r.merge(u.reach)
				}
			} else {
				m.reachOf(&r, x, x.expr)
			}
			changed = x.reach.merge(r) || changed
		}
	}
}

func (m *Model) reachOf(r *bitset, x *member, n *node) {
	switch n.op {
	case opRef:
		r.merge(n.member.reach)
	case opSelf:
		r.set(x.definition.index)
	case opArrow, opAll:
		for _, t := range n.targets {
			if t != nil {
				r.merge(t.reach)
			}
		}
	case opExclusion:
		m.reachOf(r, x, n.children[0])
	default:
		for _, c := range n.children {
			m.reachOf(r, x, c)
		}
	}
}

// findNeeds finds what every member rests on.
func (m *Model) findNeeds() {
	for changed := true; changed; {
		changed = false
		for _, x := range m.members[1:] {
			var r bitset
			r.set(int(x.id))
			for _, u := range x.usersets {
				r.merge(u.needs)
			}
			if !x.relation() {
				needsOf(&r, x.expr)
			}
			changed = x.needs.merge(r) || changed
		}
	}
	for _, x := range m.members[1:] {
		for _, y := range m.members[1:] {
			if y.relation() && x.needs.has(int(y.id)) {
				x.rests = append(x.rests, y)
			}
		}
	}
}

func needsOf(r *bitset, n *node) {
	if n.member != nil {
		r.merge(n.member.needs)
	}
	if n.relation != nil {
		r.set(int(n.relation.id))
	}
	for _, t := range n.targets {
		if t != nil {
			r.merge(t.needs)
		}
	}
	for _, c := range n.children {
		needsOf(r, c)
	}
}
