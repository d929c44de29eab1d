package graph

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// model is what a graph should be: how often each relationship is there.
type model map[tuple.Relationship]int

func (m model) apply(updates []Update) bool {
	for _, u := range updates {
		if u.Op == Add {
			m[u.Relationship]++
			continue
		}
		if m[u.Relationship] == 0 {
			return false
		}
		if m[u.Relationship]--; m[u.Relationship] == 0 {
			delete(m, u.Relationship)
		}
	}
	return true
}

func (m model) filtered(f Filter) []tuple.Relationship {
	var out []tuple.Relationship
	for r := range m {
		if f.Match(r) {
			out = append(out, r)
		}
	}
	return sorted(out)
}

func sorted(rs []tuple.Relationship) []tuple.Relationship {
	rs = slices.Clone(rs)
	slices.SortFunc(rs, func(a, b tuple.Relationship) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return rs
}

// byKey returns the relationships by what they have in common.
func (m model) byKey() map[tuple.Relationship][]tuple.Relationship {
	out := map[tuple.Relationship][]tuple.Relationship{}
	for r := range m {
		out[r.Key()] = append(out[r.Key()], r)
	}
	return out
}

// wanted is the definition of what Find returns.
func wanted(key tuple.Relationship, all []tuple.Relationship) (found bool, traits []Trait) {
	for _, r := range all {
		if r == key {
			return true, nil
		}
		found = true
		traits = append(traits, Trait{Caveat: r.Caveat, ContextText: r.Context, Expires: r.Expires})
	}
	slices.SortFunc(traits, compareTraits)
	return found, traits
}

type tester interface {
	Helper()
	Fatalf(string, ...any)
}

func read(t tester, s *Snapshot, f Filter, after *tuple.Relationship) []tuple.Relationship {
	t.Helper()
	all, err := s.Relationships(f, after)
	if err != nil {
		t.Fatalf("%+v: %v", f, err)
	}
	return slices.Collect(all)
}

func key(s *Snapshot, e Edge) (r tuple.Relationship) {
	r.Resource.Type, r.Resource.ID = s.Name(e.Resource())
	_, r.Relation = s.PairName(e.Relation())
	r.Subject.Type, r.Subject.ID = s.Name(e.Subject())
	_, r.Subject.Relation = s.PairName(e.SubjectRelation())
	return r
}

// check compares all ways to read a snapshot with a model.
func check(t tester, s *Snapshot, m model) {
	t.Helper()
	if s.Len() != len(m) {
		t.Fatalf("Len is %d, want %d", s.Len(), len(m))
	}
	if got, want := sorted(read(t, s, Filter{}, nil)), m.filtered(Filter{}); !slices.Equal(got, want) {
		t.Fatalf("got %v\nwant %v", got, want)
	}
	outs, ins := map[string][]tuple.Relationship{}, map[string][]tuple.Relationship{}
	named := map[tuple.Object]bool{}
	add := func(in map[string][]tuple.Relationship, key string, r tuple.Relationship) {
		in[key] = append(in[key], r)
	}
	byKey := m.byKey()
	for r := range byKey {
		add(outs, fmt.Sprint("all", r.Resource, r.Resource.Type, r.Relation), r)
		add(outs, fmt.Sprint(r.Subject.Relation == "", r.Resource, r.Resource.Type, r.Relation), r)
		add(ins, fmt.Sprint(r.Subject, r.Resource.Type, r.Relation), r)
		add(ins, fmt.Sprint(r.Subject), r)
		named[r.Resource], named[r.Subject.Object] = true, true

		e, ok := s.resolve(&r)
		if !ok {
			t.Fatalf("%v is not known", r)
		}
		found, traits := s.Find(e.res, e.rel, e.sub, e.subRel)
		checkTraits(t, byKey[r], r, found, traits)
		_, want := wanted(r, slices.DeleteFunc(slices.Clone(byKey[r]), func(x tuple.Relationship) bool { return x == r }))
		if got := s.Qualified(e.res, e.rel, e.sub, e.subRel); !slices.EqualFunc(got, want, func(x, y Trait) bool { return compareTraits(x, y) == 0 }) {
			t.Fatalf("%v: qualified %v, want %v", r, got, want)
		}
	}
	drain := func(r Range, want []tuple.Relationship) {
		t.Helper()
		var got []tuple.Relationship
		left := r.Len()
		for e, ok := r.Next(); ok; e, ok = r.Next() {
			got = append(got, key(s, e))
			if left--; left != r.Len() {
				t.Fatalf("%d edges should be left, not %d", left, r.Len())
			}
			checkTraits(t, byKey[key(s, e)], key(s, e), true, e.Traits())
		}
		if left != 0 || !slices.Equal(sorted(got), sorted(want)) {
			t.Fatalf("got %v, %d left\nwant %v", got, left, want)
		}
	}
	for typ := Type(1); int(typ) <= s.Types(); typ++ {
		objects := slices.Collect(s.Objects(typ, 0))
		for i, o := range objects {
			if i > 0 && o <= objects[i-1] {
				t.Fatalf("objects are not in order: %v", objects)
			}
			if again := slices.Collect(s.Objects(typ, o)); !slices.Equal(again, objects[i+1:]) {
				t.Fatalf("after %v: %v, want %v", o, again, objects[i+1:])
			}
			var object tuple.Object
			object.Type, object.ID = s.Name(o)
			if back, ok := s.Object(object.Type, object.ID); !ok || back != o || !named[object] || object.Type != s.TypeName(typ) || s.TypeOf(o) != typ {
				t.Fatalf("%v is %v, %v, %v", object, back, ok, named[object])
			}
			delete(named, object)
			for p := range Pair(s.Pairs() + 1) {
				ptyp, rel := s.PairName(p)
				if p > 0 {
					drain(s.Out(o, p), outs[fmt.Sprint("all", object, ptyp, rel)])
					drain(s.Direct(o, p), outs[fmt.Sprint(true, object, ptyp, rel)])
					drain(s.Usersets(o, p), outs[fmt.Sprint(false, object, ptyp, rel)])
				}
				if p > 0 && ptyp != object.Type {
					drain(s.In(o, p, 0), nil)
					continue
				}
				sub := tuple.Subject{Object: object, Relation: rel}
				drain(s.In(o, p, 0), ins[fmt.Sprint(sub)])
				for q := Pair(1); int(q) <= s.Pairs(); q++ {
					qtyp, qrel := s.PairName(q)
					drain(s.In(o, p, q), ins[fmt.Sprint(sub, qtyp, qrel)])
				}
			}
		}
	}
	if len(named) > 0 {
		t.Fatalf("Objects leaves out %v", named)
	}
}

func checkTraits(t tester, all []tuple.Relationship, key tuple.Relationship, found bool, got []Trait) {
	t.Helper()
	wantFound, want := wanted(key, all)
	if found != wantFound || (got == nil) != (want == nil) || !slices.EqualFunc(got, want, func(x, y Trait) bool { return compareTraits(x, y) == 0 }) {
		t.Fatalf("%v: found %v with %v, want %v with %v", key, found, got, wantFound, want)
	}
	for _, g := range got {
		if (g.ContextText == "") != (g.Context == nil) || g.ContextText != "" && fmt.Sprintf(`{"n":%v}`, g.Context["n"]) != g.ContextText {
			t.Fatalf("%v: context %v of %s", key, g.Context, g.ContextText)
		}
	}
}

var (
	types     = []string{"doc", "group", "user"}
	relations = []string{"member", "viewer"}
)

func relationships() *rapid.Generator[tuple.Relationship] {
	return rapid.Custom(func(t *rapid.T) tuple.Relationship {
		var r tuple.Relationship
		r.Resource = tuple.Object{Type: rapid.SampledFrom(types[:2]).Draw(t, "type"), ID: rapid.SampledFrom([]string{"a", "ab", "b", "c"}).Draw(t, "id")}
		r.Relation = rapid.SampledFrom(relations).Draw(t, "relation")
		r.Subject.Object = tuple.Object{Type: rapid.SampledFrom(types).Draw(t, "type"), ID: rapid.SampledFrom([]string{"a", "b", "c", "*"}).Draw(t, "id")}
		r.Subject.Relation = rapid.SampledFrom([]string{"", "", "member", "viewer"}).Draw(t, "subject relation")
		if rapid.IntRange(0, 2).Draw(t, "qualified") == 0 {
			r.Caveat = rapid.SampledFrom([]string{"", "tuesday"}).Draw(t, "caveat")
			if r.Caveat != "" {
				r.Context = rapid.SampledFrom([]string{"", `{"n":1}`, `{"n":2}`}).Draw(t, "context")
			}
			r.Expires = rapid.SampledFrom([]int64{0, 10, 20}).Draw(t, "expires")
		}
		return r
	})
}

func filters() *rapid.Generator[Filter] {
	return rapid.Custom(func(t *rapid.T) Filter {
		pick := func(name string, values ...string) string {
			return rapid.SampledFrom(append(values, "", "")).Draw(t, name)
		}
		f := Filter{
			ResourceType: pick("type", append(types, "unknown")...), ResourceID: pick("id", "a", "ab", "unknown"),
			ResourceIDPrefix: pick("prefix", "a", "ab"), Relation: pick("relation", append(relations, "unknown")...),
			Now: rapid.SampledFrom([]int64{0, 10, 15, 30}).Draw(t, "now"),
		}
		if rapid.Bool().Draw(t, "subject") {
			f.Subject = &SubjectFilter{Type: pick("subject type", types...), ID: pick("subject id", "a", "*", "m7", "unknown")}
			if rapid.Bool().Draw(t, "has relation") {
				rel := pick("subject relation", append(relations, "unknown")...)
				f.Subject.Relation = &rel
			}
		}
		return f
	})
}

// kept is a version and what it should be.
type kept struct {
	snapshot *Snapshot
	model    model
	order    []tuple.Relationship
}

func TestGraphIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g, m := New(), model{}
		versions := []kept{{g.Snapshot(), model{}, nil}}
		publish := func(s *Snapshot) {
			if s != g.Snapshot() || s.Graph() != g {
				t.Fatalf("the version is not the newest")
			}
			if n := len(versions); n > 0 && s.Seq() != versions[n-1].snapshot.Seq()+1 {
				t.Fatalf("Seq went from %d to %d", versions[n-1].snapshot.Seq(), s.Seq())
			}
			if n := len(versions); n > 0 {
				checkChanged(t, versions[n-1], kept{s, m, nil})
			}
			versions = append(versions, kept{s, maps.Clone(m), read(t, s, Filter{}, nil)})
			named := map[tuple.Object]bool{}
			for r := range m {
				named[r.Resource], named[r.Subject.Object] = true, true
			}
			if orphans, objects := g.Orphans(); objects-orphans != len(named) {
				t.Fatalf("%d of %d objects are orphans, but %d are named", orphans, objects, len(named))
			}
		}
		apply := func(updates []Update) {
			was := maps.Clone(m)
			if !m.apply(updates) {
				m = was
				before := g.Snapshot()
				if _, err := g.Apply(updates); !errors.Is(err, ErrAbsent) || g.Snapshot() != before {
					t.Fatalf("got %v for %v", err, updates)
				}
				check(t, before, m)
				return
			}
			s, err := g.Apply(updates)
			if err != nil {
				t.Fatalf("%v", err)
			}
			publish(s)
		}
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				present := sorted(slices.Collect(maps.Keys(m)))
				apply(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Update {
					if len(present) > 0 && rapid.Bool().Draw(t, "remove") {
						return Update{Remove, rapid.SampledFrom(present).Draw(t, "present")}
					}
					return Update{Op(rapid.IntRange(0, 20).Draw(t, "op") / 20), relationships().Draw(t, "relationship")}
				}), 0, 12).Draw(t, "updates"))
			},
			"many": func(t *rapid.T) { // members come and go around the sizes at which an object's edges move
				from, n := rapid.IntRange(0, 300).Draw(t, "from"), rapid.IntRange(0, 200).Draw(t, "n")
				in, remove := rapid.Bool().Draw(t, "in"), rapid.Bool().Draw(t, "remove")
				var updates []Update
				for i := from; i < from+n; i++ {
					r := member("group", "wide", "member", "user", fmt.Sprintf("m%d", i), "")
					if in {
						r = member("doc", fmt.Sprintf("d%d", i), "viewer", "user", "*", "")
					}
					if i%50 == 0 {
						r.Caveat = "tuesday"
					}
					switch {
					case !remove:
						updates = append(updates, Update{Add, r})
					case m[r] > 0:
						updates = append(updates, Update{Remove, r})
					}
				}
				apply(updates)
			},
			"compact": func(t *rapid.T) {
				s, err := g.Compact()
				if err != nil {
					t.Fatalf("%v", err)
				}
				if orphans, _ := g.Orphans(); orphans != 0 || s.Epoch() == versions[len(versions)-1].snapshot.Epoch() {
					t.Fatalf("%d orphans in epoch %d", orphans, s.Epoch())
				}
				publish(s)
			},
			"rebuild": func(t *rapid.T) {
				b := NewBuilder()
				for _, r := range rapid.Permutation(sorted(slices.Collect(maps.Keys(m)))).Draw(t, "order") {
					for range m[r] {
						if err := b.Add(r); err != nil {
							t.Fatalf("%v", err)
						}
					}
				}
				var err error
				if g, err = b.Graph(); err != nil {
					t.Fatalf("%v", err)
				}
				for i := 0; i < len(versions); i += 4 {
					check(t, versions[i].snapshot, versions[i].model)
				}
				versions = nil
				publish(g.Snapshot())
			},
			"read": func(t *rapid.T) {
				s := g.Snapshot()
				for range 5 {
					checkFilter(t, s, m, filters().Draw(t, "filter"))
				}
				r := relationships().Draw(t, "relationship")
				var want []tuple.Relationship
				for have := range m {
					if have.Key() == r.Key() {
						want = append(want, have)
					}
				}
				if got := s.Lookup(r); !slices.Equal(sorted(got), sorted(want)) {
					t.Fatalf("Lookup of %v: %v, want %v", r, got, want)
				}
				if e, ok := s.resolve(&r); ok {
					found, traits := s.Find(e.res, e.rel, e.sub, e.subRel)
					checkTraits(t, want, r.Key(), found, traits)
				} else if len(want) > 0 {
					t.Fatalf("%v is not known", r)
				}
			},
		})
		for i, v := range versions {
			if len(versions) > 8 && i%4 > 0 {
				continue
			}
			check(t, v.snapshot, v.model)
			if order := read(t, v.snapshot, Filter{}, nil); !slices.Equal(order, v.order) {
				t.Fatalf("version %d was %v, and is %v", v.snapshot.Seq(), v.order, order)
			}
		}
		check(t, g.Snapshot(), m)
	})
}

// checkFilter compares what a filter selects, and resumes at many points.
func checkFilter(t tester, s *Snapshot, m model, f Filter) {
	t.Helper()
	all := read(t, s, f, nil)
	if got, want := sorted(all), m.filtered(f); !slices.Equal(got, want) {
		t.Fatalf("%+v selects %v\nwant %v", f, got, want)
	}
	if n := s.Count(f); n != len(all) {
		t.Fatalf("%+v counts %d, want %d", f, n, len(all))
	}
	for i := range all {
		if len(all) > 40 && i%37 > 1 {
			continue
		}
		if rest := read(t, s, f, &all[i]); !slices.Equal(rest, all[i+1:]) {
			t.Fatalf("%+v after %v: %v\nwant %v", f, all[i], rest, all[i+1:])
		}
	}
}

// checkChanged holds Changed to what differs between two versions.
func checkChanged(t tester, old, is kept) {
	t.Helper()
	if old.snapshot.Epoch() != is.snapshot.Epoch() {
		for p := 1; p <= is.snapshot.Pairs(); p++ {
			if is.snapshot.Changed(Pair(p)) != is.snapshot.Seq() {
				t.Fatalf("a new epoch does not change pair %d", p)
			}
		}
		return
	}
	changed := map[Pair]bool{}
	for _, d := range []struct{ a, b model }{{old.model, is.model}, {is.model, old.model}} {
		for r := range d.a {
			if d.b[r] == 0 {
				p, _ := is.snapshot.Pair(r.Resource.Type, r.Relation)
				changed[p] = true
			}
		}
	}
	for p := Pair(1); int(p) <= is.snapshot.Pairs(); p++ {
		if now := is.snapshot.Changed(p) == is.snapshot.Seq(); now != changed[p] {
			t.Fatalf("pair %d: changed is %v, want %v", p, now, changed[p])
		}
	}
}

func member(typ, id, relation, subType, subID, subRelation string) tuple.Relationship {
	return tuple.Relationship{
		Resource: tuple.Object{Type: typ, ID: id}, Relation: relation,
		Subject: tuple.Subject{Object: tuple.Object{Type: subType, ID: subID}, Relation: subRelation},
	}
}
