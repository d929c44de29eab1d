package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// lookUpSubjects compares the subjects of one kind, for every place, with the
// verdicts about each of them. What an answer says of an object is what it says
// by name or, failing that, what its wildcard says.
func (s *scenario) lookUpSubjects(q question, d *schema.Definition, relation string, verdictsOf map[tuple.Subject]verdicts, opposed map[place]bool, places []place) error {
	for _, p := range places {
		found, err := engine.LookupSubjects(context.Background(), q.View, p.object, p.member, d.Name, relation, q.given, q.opts)
		var depth *engine.DepthError
		if errors.As(err, &depth) && opposed[p] {
			continue
		}
		if err != nil {
			return fmt.Errorf("subjects %s#%s of %s#%s given %v: %w", p.object, p.member, d.Name, relation, q.given, err)
		}
		ids := make([]string, len(found))
		for i, f := range found {
			ids[i] = f.ID
			if f.Has != engine.Yes && f.Has != engine.Conditional || (f.ID != tuple.Wildcard && f.Excluded != nil) {
				return fmt.Errorf("subjects %s#%s of %s#%s: %v", p.object, p.member, d.Name, relation, f)
			}
		}
		if !slices.IsSorted(ids) || len(slices.Compact(ids)) != len(found) {
			return fmt.Errorf("subjects %s#%s of %s#%s: %v is out of order", p.object, p.member, d.Name, relation, found)
		}
		for _, o := range s.objects {
			if o.Type != d.Name {
				continue
			}
			want := verdictsOf[tuple.Subject{Object: o, Relation: relation}][p].String()
			if got := said(found, o.ID); got != want {
				return fmt.Errorf("subjects %s#%s of %s#%s given %v: of %s it says %s, not %s: %v", p.object, p.member, d.Name, relation, q.given, o, got, want, found)
			}
		}
		tally["subjects"] += len(found)
		if len(found) > 0 && found[0].ID == tuple.Wildcard {
			tally["wildcards"]++
			tally["excluded"] += len(found[0].Excluded)
		}
	}
	return nil
}

// said is how a client reads an answer about one object.
func said(found []engine.FoundSubject, id string) string {
	best := engine.Found{}
	for _, f := range found {
		if f.ID == id {
			return fmt.Sprint(f.Has, " ", f.Missing)
		}
		if f.ID == tuple.Wildcard {
			best = f.Found
			for _, x := range f.Excluded {
				if x.ID != id {
					continue
				}
				best = engine.Found{Missing: x.Missing} // not no, if by a condition
			}
		}
	}
	return fmt.Sprint(best.Has, " ", best.Missing)
}

// expandAll compares trees, read with Check's logic, with the relationships: the
// leaves are those of the relations that the permission is made of.
func (s *scenario) expandAll(v engine.View, sch *schema.Schema, rels []tuple.Relationship) error {
	var leaves func(t *engine.Tree, f func(*engine.Tree))
	leaves = func(t *engine.Tree, f func(*engine.Tree)) {
		if t.Operation == engine.Leaf {
			f(t)
		}
		for _, c := range t.Children {
			leaves(c, f)
		}
	}
	for _, o := range s.objects {
		d := sch.Definition(o.Type)
		for _, member := range membersOf(d) {
			t, err := engine.Expand(context.Background(), v, o, member, engine.Options{Depth: 6})
			var depth *engine.DepthError
			if errors.As(err, &depth) {
				continue
			}
			if err != nil {
				return fmt.Errorf("expand %s#%s: %w", o, member, err)
			}
			leaves(t, func(l *engine.Tree) {
				rel, _ := sch.Definition(l.Object.Type).Member(l.Name)
				if rel == nil {
					return // nil, self, or an arrow to nothing
				}
				free := map[tuple.Subject]bool{} // who stands in it unconditionally
				var under []tuple.Relationship
				for _, r := range rels {
					switch {
					case r.Resource != l.Object || r.Relation != l.Name || r.Expired(clock) || !fits(sch, r):
					case r.Caveat == "" && r.Expires == 0:
						free[r.Subject] = true
					default:
						under = append(under, r)
					}
				}
				var wanted, got []string
				for w := range free {
					wanted = append(wanted, fmt.Sprint(w, "[]"))
				}
				for _, r := range under {
					if !free[r.Subject] {
						wanted = append(wanted, fmt.Sprint(r.Subject, "[", r.Caveat, r.Context, r.Expires, "]"))
					}
				}
				for _, g := range l.Subjects {
					for _, tr := range g.Traits {
						got = append(got, fmt.Sprint(g.Subject, "[", tr.Caveat, tr.ContextText, tr.Expires, "]"))
					}
					if g.Traits == nil {
						got = append(got, fmt.Sprint(g.Subject, "[]"))
					}
				}
				slices.Sort(wanted)
				wanted = slices.Compact(wanted)
				slices.Sort(got)
				if !slices.Equal(wanted, got) && err == nil {
					err = fmt.Errorf("expand %s#%s: the leaf %s#%s is %s, not %s", o, member, l.Object, l.Name, strings.Join(got, " "), strings.Join(wanted, " "))
				}
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
