package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

var clock = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// scenario is a schema and transactions, small enough to know everything about.
type scenario struct {
	schema  []definitionText
	batches [][]graph.Update
	objects []tuple.Object // all that may be named, and one of each type that is not
	seed    uint64         // of the questions
}

type definitionText struct {
	name    string
	members []string
}

func (s *scenario) text() string {
	var b strings.Builder
	b.WriteString("use expiration\nuse self\n\n")
	b.WriteString(caveatText)
	for _, d := range s.schema {
		fmt.Fprintf(&b, "definition %s {\n", d.name)
		for _, m := range d.members {
			b.WriteString("\t" + m + "\n")
		}
		b.WriteString("}\n\n")
	}
	return b.String()
}

func (s *scenario) String() string {
	out := s.text()
	for i, b := range s.batches {
		out += fmt.Sprintf("-- transaction %d\n", i+1)
		for _, u := range b {
			out += fmt.Sprintf("%s %s\n", []string{"add", "remove"}[u.Op], u.Relationship)
		}
	}
	return out
}

var typeNames = []string{"user", "group", "folder", "document"}

// maker draws scenarios.
type maker struct {
	*rand.Rand
	relations, permissions map[string][]string
	unfit                  int // percent of the relationships
}

func (m *maker) chance(percent int) bool { return m.IntN(100) < percent }

func pick[T any](m *maker, list []T) T { return list[m.IntN(len(list))] }

// draw makes a scenario; the schema may be one that does not pass.
func draw(seed uint64) *scenario {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 7)), relations: map[string][]string{}, permissions: map[string][]string{}}
	s := &scenario{seed: seed}
	for _, t := range typeNames[1:] {
		for i := range 1 + m.IntN(3) {
			m.relations[t] = append(m.relations[t], fmt.Sprintf("rel%d", i+1))
		}
		for i := range m.IntN(4) {
			m.permissions[t] = append(m.permissions[t], fmt.Sprintf("perm%d", i+1))
		}
	}
	if m.chance(30) {
		m.permissions["user"] = []string{"perm1"}
	}
	traits, plain := m.chance(60), m.chance(20)
	for _, t := range typeNames {
		d := definitionText{name: t}
		for _, r := range m.relations[t] {
			d.members = append(d.members, fmt.Sprintf("relation %s: %s", r, strings.Join(m.subjects(traits), " | ")))
		}
		for i, p := range m.permissions[t] {
			depth := 2
			if plain {
				depth = -1 // unions only
			}
			d.members = append(d.members, fmt.Sprintf("permission %s = %s", p, m.expr(t, m.permissions[t][:i], depth)))
		}
		s.schema = append(s.schema, d)
	}
	for _, t := range typeNames {
		for i := range 2 + m.IntN(3)/2 {
			s.objects = append(s.objects, tuple.Object{Type: t, ID: fmt.Sprintf("%c%d", t[0], i)})
		}
	}
	if sch, err := schema.Parse(s.text()); err == nil {
		m.transactions(s, sch)
	}
	for _, t := range typeNames {
		s.objects = append(s.objects, tuple.Object{Type: t, ID: "nobody"})
	}
	return s
}

func (m *maker) subjects(traits bool) []string {
	var out []string
	for i := range 1 + m.IntN(3) {
		t := pick(m, typeNames)
		if i == 0 && m.chance(60) {
			t = pick(m, []string{"user", "user", "user:*"})
			if traits && m.chance(60) {
				t += pick(m, []string{" with isone", " with less", " with expiration"})
			}
			out = append(out, t)
			continue
		}
		if m.chance(40) {
			t = "user"
		}
		names := append(append([]string(nil), m.relations[t]...), m.permissions[t]...)
		switch {
		case m.chance(15):
			t += ":*"
		case m.chance(45) && len(names) > 0:
			t += "#" + pick(m, names)
		case m.chance(40):
			if names := append(append([]string(nil), m.relations["group"]...), m.permissions["group"]...); len(names) > 0 {
				t = "group#" + pick(m, names)
			}
		}
		out = append(out, t)
		if traits && m.chance(60) {
			if m.chance(50) {
				out = out[:len(out)-1]
			}
			out = append(out, t+pick(m, []string{" with isone", " with less", " with expiration", " with isone and expiration"}))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// expr draws a permission, which may not refer to itself without an arrow.
func (m *maker) expr(t string, before []string, depth int) string {
	if depth > 0 && m.chance(60) {
		a, b := m.expr(t, before, depth-1), m.expr(t, before, depth-1)
		return "(" + a + pick(m, []string{" + ", " + ", " & ", " - ", " - "}) + b + ")"
	}
	if depth == -1 && m.chance(40) {
		return m.expr(t, before, -1) + " + " + m.expr(t, before, -1)
	}
	relations := m.relations[t]
	names := append(append([]string(nil), relations...), before...)
	switch n := m.IntN(20); {
	case n == 0:
		return "nil"
	case n == 1 || len(names) == 0:
		return "self"
	case n < 9 && len(relations) > 0:
		u := pick(m, typeNames[1:])
		target := pick(m, append(append([]string(nil), m.relations[u]...), m.permissions[u]...))
		r := pick(m, relations)
		switch {
		case m.chance(50):
			return r + "->" + target
		case m.chance(50) || depth == -1:
			return fmt.Sprintf("%s.any(%s)", r, target)
		}
		return fmt.Sprintf("%s.all(%s)", r, target)
	}
	return pick(m, names)
}

// transactions draws relationships, most of which fit the schema, and their
// removal.
func (m *maker) transactions(s *scenario, sch *schema.Schema) {
	m.unfit = pick(m, []int{0, 10, 40})
	var present []tuple.Relationship
	for range 1 + m.IntN(4) {
		var batch []graph.Update
		for range 5 + m.IntN(30) {
			if len(present) > 0 && m.chance(25) {
				i := m.IntN(len(present))
				batch = append(batch, graph.Update{Op: graph.Remove, Relationship: present[i]})
				present = slices.Delete(present, i, i+1)
				continue
			}
			r := m.relationship(s, sch)
			if m.chance(m.unfit) {
				r = m.changed(s, r, present)
			}
			batch = append(batch, graph.Update{Op: graph.Add, Relationship: r})
			present = append(present, r)
		}
		s.batches = append(s.batches, batch)
	}
}

func (m *maker) relationship(s *scenario, sch *schema.Schema) tuple.Relationship {
	var r tuple.Relationship
	for len(m.relations[r.Resource.Type]) == 0 {
		r.Resource = pick(m, s.objects)
	}
	r.Relation = pick(m, m.relations[r.Resource.Type])
	rel, _ := sch.Definition(r.Resource.Type).Member(r.Relation)
	t := pick(m, rel.Types)
	r.Subject.Type, r.Subject.ID, r.Subject.Relation = t.Type, tuple.Wildcard, t.Relation
	for !t.Wildcard {
		if o := pick(m, s.objects); o.Type == t.Type {
			r.Subject.ID = o.ID
			break
		}
	}
	r.Caveat = t.Caveat
	r.Context = m.context(t.Caveat)
	if t.Expiration {
		r.Expires = m.expires()
	}
	return r
}

func (m *maker) context(caveat string) string {
	switch {
	case caveat == "" || m.chance(40):
		return ""
	case caveat != "less":
		return fmt.Sprintf(`{"x":%d}`, m.IntN(2))
	case m.chance(50):
		return fmt.Sprintf(`{"y":%d}`, m.IntN(2))
	}
	return fmt.Sprintf(`{"y":%d,"z":%d}`, m.IntN(2), m.IntN(2))
}

func (m *maker) expires() int64 {
	return clock.Add(time.Duration(m.IntN(4)-1) * time.Hour).UnixMicro()
}

// changed makes a relationship say something else, which mostly does not fit the
// schema any more. Often it is one that is there, too, as it was.
func (m *maker) changed(s *scenario, r tuple.Relationship, present []tuple.Relationship) tuple.Relationship {
	if len(present) > 0 && m.chance(50) {
		r = pick(m, present)
	}
	switch n := m.IntN(10); {
	case n < 3:
		r.Caveat, r.Context, r.Expires = "", "", 0
	case n < 5:
		r.Caveat = pick(m, []string{"", "isone", "less", "gone"})
		r.Context = m.context(r.Caveat)
	case n < 6 && r.Expires != 0:
		r.Expires = 0
	case n < 6:
		r.Expires = m.expires()
	case n < 7:
		r.Subject.Object, r.Subject.Relation = pick(m, s.objects), ""
	case n < 8:
		r.Subject.ID, r.Subject.Relation = tuple.Wildcard, ""
	case n < 9 && r.Subject.ID != tuple.Wildcard:
		names := append(append([]string{"", "gone"}, m.relations[r.Subject.Type]...), m.permissions[r.Subject.Type]...)
		r.Subject.Relation = pick(m, names)
	case m.chance(20):
		r.Subject = tuple.Subject{Object: tuple.Object{Type: "gone", ID: "g0"}}
	default:
		r.Relation = pick(m, append(append([]string{"gone"}, m.relations[r.Resource.Type]...), m.permissions[r.Resource.Type]...))
	}
	return r
}
