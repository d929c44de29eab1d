package schema_test

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/schema/schematest"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

const library = `
use self
/** a user */
definition user {}
definition group {
	relation direct_member: user | group#member
	relation admin: user
	permission member = direct_member + admin
}
caveat some_caveat(first int, second string) {
	first == 1 && second == "two"
}
definition folder {
	relation unused: user
	relation viewer: user:*
	relation parent: folder
	permission view = viewer + parent->view
}
definition document {
	// editor edits
	relation editor: user | group#member
	relation viewer: user | user with some_caveat
	relation parent: folder | group
	relation owner: group#admin
	// view it
	permission view = (viewer - editor) + parent.all(view)
	permission own = owner->admin
	permission myself = self
	permission empty = nil
}`

func TestReflect(t *testing.T) {
	s := parse(t, library)
	for _, c := range []struct {
		filters []schema.Filter
		want    string
	}{
		{nil, "document: editor viewer parent owner / view own myself empty; folder: unused viewer parent / view; group: direct_member admin / member; user: /; some_caveat"},
		{[]schema.Filter{{}}, "document: editor viewer parent owner / view own myself empty; folder: unused viewer parent / view; group: direct_member admin / member; user: /; some_caveat"},
		{[]schema.Filter{{Definition: "doc"}}, "document: editor viewer parent owner / view own myself empty"},
		{[]schema.Filter{{Caveat: "some"}}, "some_caveat"},
		{[]schema.Filter{{Caveat: "other"}}, ""},
		{[]schema.Filter{{Caveat: "some"}, {Definition: "user"}}, "user: /; some_caveat"},
		{[]schema.Filter{{Definition: "doc", Relation: "v"}}, "document: viewer /"},
		{[]schema.Filter{{Definition: "doc", Permission: "v"}}, "document: / view"},
		{[]schema.Filter{{Definition: "doc", Permission: "view"}, {Definition: "document", Relation: "viewer"}}, "document: viewer / view"},
		{[]schema.Filter{{Definition: "doc", Permission: "v"}, {Definition: "folder", Relation: "v"}}, "document: / view; folder: viewer /"},
	} {
		definitions, caveats, err := s.Reflect(c.filters)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range definitions {
			names := []string{d.Name + ":"}
			for _, r := range d.Relations {
				names = append(names, r.Name)
			}
			names = append(names, "/")
			for _, p := range d.Permissions {
				names = append(names, p.Name)
			}
			got = append(got, strings.Join(names, " "))
			if d.Comment != s.Definition(d.Name).Comment {
				t.Errorf("%s: comment %q", d.Name, d.Comment)
			}
		}
		for _, c := range caveats {
			got = append(got, c.Name)
		}
		if got := strings.Join(got, "; "); got != c.want {
			t.Errorf("%+v:\n%s\n%s", c.filters, got, c.want)
		}
	}
	for _, f := range []schema.Filter{
		{Definition: "a", Caveat: "b"},
		{Definition: "a", Relation: "b", Permission: "c"},
		{Relation: "a"},
		{Permission: "a"},
		{Caveat: "a", Relation: "b"},
	} {
		if _, _, err := s.Reflect([]schema.Filter{{}, f}); err == nil {
			t.Errorf("%+v was taken", f)
		}
	}
}

func names(all []schema.Reference) string {
	var b []string
	for _, r := range all {
		kind := ""
		if r.Permission {
			kind = "!"
		}
		b = append(b, r.Type+"#"+r.Relation+kind)
	}
	return strings.Join(b, " ")
}

func TestDependentRelations(t *testing.T) {
	s := parse(t, library)
	for in, want := range map[string]string{
		"document view":   "document#editor document#parent document#viewer folder#parent folder#view! folder#viewer group#admin group#direct_member group#member!",
		"document own":    "document#owner group#admin",
		"document myself": "",
		"document empty":  "",
		"folder view":     "folder#parent folder#viewer",
	} {
		typ, name, _ := strings.Cut(in, " ")
		got, err := s.DependentRelations(typ, name)
		if err != nil || names(got) != want {
			t.Errorf("%s: %v\n%s\n%s", in, err, names(got), want)
		}
	}
	var unknown *schema.UnknownError
	if _, err := s.DependentRelations("nothing", "view"); !errors.As(err, &unknown) || *unknown != (schema.UnknownError{Definition: "nothing"}) {
		t.Error(err)
	}
	if _, err := s.DependentRelations("user", ""); !errors.As(err, &unknown) || unknown.Definition != "user" {
		t.Error(err)
	}
	var kind *schema.KindError
	if _, err := s.DependentRelations("document", "viewer"); !errors.As(err, &kind) || kind.Permission {
		t.Error(err)
	}
}

func TestComputablePermissions(t *testing.T) {
	s := parse(t, library)
	for in, want := range map[string]string{
		"user  ":              "document#editor document#own! document#owner document#view! document#viewer folder#unused folder#view! folder#viewer group#admin group#direct_member group#member!",
		"user  g":             "group#admin group#direct_member group#member!",
		"group member ":       "document#editor document#view! group#direct_member",
		"group admin doc":     "document#editor document#own! document#owner document#view!",
		"document viewer ":    "document#view!",
		"document empty ":     "",
		"document  ":          "document#myself!",
		"folder  ":            "document#parent folder#parent",
		"folder viewer ":      "document#view! folder#view!",
		"folder view folder":  "",
		"folder view nothing": "",
	} {
		part := strings.Split(in, " ")
		got, err := s.ComputablePermissions(part[0], part[1], part[2])
		if err != nil || names(got) != want {
			t.Errorf("%s: %v\n%s\n%s", in, err, names(got), want)
		}
	}
	var unknown *schema.UnknownError
	if _, err := s.ComputablePermissions("nothing", "", ""); !errors.As(err, &unknown) {
		t.Error(err)
	}
	if _, err := s.ComputablePermissions("user", "nothing", ""); !errors.As(err, &unknown) || unknown.Member != "nothing" {
		t.Error(err)
	}
}

func TestClosure(t *testing.T) {
	s := parse(t, library)
	for in, want := range map[string]string{
		"document view":  "document#editor document#parent document#viewer folder#parent folder#viewer group#admin group#direct_member",
		"document own":   "document#owner group#admin",
		"group admin":    "group#admin",
		"document empty": "",
		"nothing view":   "",
		"user view":      "",
	} {
		typ, name, _ := strings.Cut(in, " ")
		var got []string
		for _, p := range s.Closure(typ, name) {
			got = append(got, p.Type+"#"+p.Relation)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// TestDependenciesOfRandomSchemas compares what is walked with the transitive
// closure of one-step dependencies, made from what the sample says.
func TestDependenciesOfRandomSchemas(t *testing.T) {
	seeds(t, 150, func(r *rand.Rand) {
		sample := schematest.Random(r)
		s := parse(t, sample.Text)
		has := func(p schema.Pair) bool { return sample.Relations[p] != nil || sample.Permissions[p] != nil }
		needs, holds := map[[2]schema.Pair]bool{}, map[[2]schema.Pair]bool{}
		var all []schema.Pair
		for p, types := range sample.Relations {
			all = append(all, p)
			for _, a := range types {
				q := schema.Pair{Type: a.Type, Relation: a.Relation}
				needs[[2]schema.Pair{p, q}], holds[[2]schema.Pair{p, q}] = true, true
			}
		}
		for p, e := range sample.Permissions {
			all = append(all, p)
			step := func(q schema.Pair) { needs[[2]schema.Pair{p, q}], holds[[2]schema.Pair{p, q}] = true, true }
			operands(e, func(e schema.Expr) {
				switch e := e.(type) {
				case schema.Self:
					step(schema.Pair{Type: p.Type})
				case schema.Ref:
					step(schema.Pair{Type: p.Type, Relation: e.Name})
				case schema.Arrow:
					left := schema.Pair{Type: p.Type, Relation: e.Relation}
					needs[[2]schema.Pair{p, left}] = true
					for _, t := range sample.Relations[left] {
						if q := (schema.Pair{Type: t.Type, Relation: e.Target}); has(q) {
							step(q)
						}
					}
				}
			})
		}
		for _, d := range s.Definitions {
			all = append(all, schema.Pair{Type: d.Name})
		}
		slices.SortFunc(all, func(a, b schema.Pair) int {
			return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Relation, b.Relation))
		})
		for _, m := range []map[[2]schema.Pair]bool{needs, holds} {
			for _, via := range all {
				for _, a := range all {
					for _, b := range all {
						if m[[2]schema.Pair{a, via}] && m[[2]schema.Pair{via, b}] {
							m[[2]schema.Pair{a, b}] = true
						}
					}
				}
			}
		}
		reference := func(p schema.Pair) schema.Reference {
			return schema.Reference{Pair: p, Permission: sample.Permissions[p] != nil}
		}
		for _, p := range all {
			var depends, computable []schema.Reference
			var closure []schema.Pair
			for _, q := range all {
				if q.Relation == "" {
					continue
				}
				if q != p && needs[[2]schema.Pair{p, q}] {
					depends = append(depends, reference(q))
				}
				if q != p && holds[[2]schema.Pair{q, p}] {
					computable = append(computable, reference(q))
				}
				if sample.Relations[q] != nil && (q == p || needs[[2]schema.Pair{p, q}]) {
					closure = append(closure, q)
				}
			}
			if sample.Permissions[p] != nil {
				if got, err := s.DependentRelations(p.Type, p.Relation); err != nil || !slices.Equal(got, depends) {
					t.Fatalf("%v rests on %v, not %v (%v) in\n%s", p, depends, got, err, sample.Text)
				}
			}
			if got, err := s.ComputablePermissions(p.Type, p.Relation, ""); err != nil || !slices.Equal(got, computable) {
				t.Fatalf("%v may have %v, not %v (%v) in\n%s", p, computable, got, err, sample.Text)
			}
			if got := s.Closure(p.Type, p.Relation); p.Relation != "" && !slices.Equal(got, closure) {
				t.Fatalf("the closure of %v is %v, not %v in\n%s", p, closure, got, sample.Text)
			}
		}
	})
}

func operands(e schema.Expr, f func(schema.Expr)) {
	switch e := e.(type) {
	case schema.Union:
		for _, c := range e.Children {
			operands(c, f)
		}
	case schema.Intersection:
		for _, c := range e.Children {
			operands(c, f)
		}
	case schema.Exclusion:
		operands(e.Base, f)
		operands(e.Subtracted, f)
	default:
		f(e)
	}
}

func TestAllowed(t *testing.T) {
	s := parse(t, "use expiration\n"+strings.TrimPrefix(library, "\n")+`
definition note {
	relation reader: user | user:* with some_caveat | group#member with expiration | user with some_caveat and expiration
	permission read = reader
}`)
	for in, want := range map[string]string{
		"note:1#reader@user:a":                                               "",
		"note:1#reader@user:*":                                               `relation note#reader takes no subject of type "user:*"`,
		"note:1#reader@user:*[some_caveat]":                                  "",
		"note:1#reader@user:a[some_caveat]":                                  `relation note#reader takes no subject of type "user with some_caveat"`,
		"note:1#reader@user:a[some_caveat][expiration:2040-01-01T00:00:00Z]": "",
		"note:1#reader@user:a[nosuch]":                                       `relation note#reader takes no subject of type "user with nosuch"`,
		"note:1#reader@user:a[expiration:2040-01-01T00:00:00Z]":              `relation note#reader takes no subject of type "user with expiration"`,
		"note:1#reader@group:g":                                              `relation note#reader takes no subject of type "group"`,
		"note:1#reader@group:g#member":                                       `relation note#reader takes no subject of type "group#member"`,
		"note:1#reader@group:g#member[expiration:2040-01-01T00:00:00Z]":      "",
		"note:1#reader@group:g#nothing":                                      `definition "group" has no relation or permission "nothing"`,
		"note:1#reader@nobody:g":                                             `the schema has no definition "nobody"`,
		"nothing:1#reader@user:g":                                            `the schema has no definition "nothing"`,
		"note:1#nothing@user:g":                                              `definition "note" has no relation or permission "nothing"`,
		"note:1#read@user:g":                                                 "note#read is a permission, and relationships are written to relations",
	} {
		r, err := tuple.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		if err := s.Allowed(r); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q", in, got)
		}
	}
}

func TestDiff(t *testing.T) {
	const user = "definition user {}\ndefinition anon {}\n"
	const some = "caveat some(aaa int) { aaa < 42 }"
	doc := func(s string) string { return user + "definition doc {\n" + s + "\n}" }
	for _, c := range []struct{ name, old, next, want string }{
		{"nothing", user + some, user + some, ""},
		{"order", doc("relation viewer: user | anon") + some, some + doc("relation viewer: anon | user"), ""},
		{"definition added", "", "definition user {}", "definition added user"},
		{"definition removed", "definition user {}", "", "definition removed user"},
		{"definition comment", "definition user {}", "// who\ndefinition user {}", "definition comment user // who"},
		{"caveat added", "", some, "caveat added some"},
		{"caveat removed", some, "", "caveat removed some"},
		{"caveat comment", "// one\n" + some, "// two\n" + some, "caveat comment some // two"},
		{"caveat expression", some, "caveat some(aaa int) { aaa < 43 }", "caveat expr some"},
		{"parameter added", some, "caveat some(aaa int, bbb int) { aaa < bbb }", "parameter added some bbb int; caveat expr some"},
		{"parameter removed", "caveat some(aaa int, bbb int) { aaa < bbb }", some, "parameter removed some bbb int; caveat expr some"},
		{"parameter type", some, "caveat some(aaa double) { aaa < 42 }", "parameter type some aaa double (int)"},
		{"relation added", doc(""), doc("relation viewer: user"), "relation added doc#viewer"},
		{"relation removed", doc("relation viewer: user"), doc(""), "relation removed doc#viewer"},
		{"relation comment", doc("relation viewer: user"), doc("// v\nrelation viewer: user"), "relation comment doc#viewer"},
		{"subject types", doc("relation viewer: user | anon:*"), doc("relation viewer: user:* | user"), "type removed doc#viewer anon:*; type added doc#viewer user:*"},
		{"permission added", doc(""), doc("permission view = nil"), "permission added doc#view"},
		{"permission removed", doc("permission view = nil"), doc(""), "permission removed doc#view"},
		{"permission both", doc("permission view = nil"), doc("relation one: user\n// c\npermission view = one"), "relation added doc#one; permission expr doc#view; permission comment doc#view"},
		{"relation becomes permission", doc("relation view: user"), doc("permission view = nil"), "relation removed doc#view; permission added doc#view"},
		{"permission becomes relation", doc("permission view = nil"), doc("relation view: user"), "relation added doc#view; permission removed doc#view"},
		{"renamed", doc("relation one: user"), doc("relation two: user"), "relation removed doc#one; relation added doc#two"},
		{"parentheses", doc("relation one: user\npermission view = one + (one + nil)"), doc("relation one: user\npermission view = one + one + nil"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			old, next := parse(t, c.old), parse(t, c.next)
			var got []string
			for _, d := range schema.Diff(old, next) {
				got = append(got, describe(d))
			}
			if got := strings.Join(got, "; "); got != c.want {
				t.Errorf("%s\n%s", got, c.want)
			}
			if back := schema.Diff(next, old); (len(back) == 0) != (c.want == "") {
				t.Errorf("back: %v", back)
			}
		})
	}
}

func describe(c schema.Change) string {
	member := func() string {
		if c.Relation != nil {
			return c.Definition.Name + "#" + c.Relation.Name
		}
		return c.Definition.Name + "#" + c.Permission.Name
	}
	parameter := func() string { return c.Caveat.Name + " " + c.Parameter.Name + " " + c.Parameter.Type }
	switch c.Kind {
	case schema.DefinitionAdded:
		return "definition added " + c.Definition.Name
	case schema.DefinitionRemoved:
		return "definition removed " + c.Definition.Name
	case schema.DefinitionCommentChanged:
		return "definition comment " + c.Definition.Name + " " + c.Definition.Comment
	case schema.RelationAdded:
		return "relation added " + member()
	case schema.RelationRemoved:
		return "relation removed " + member()
	case schema.RelationCommentChanged:
		return "relation comment " + member()
	case schema.SubjectTypeAdded:
		return "type added " + member() + " " + c.Type.String()
	case schema.SubjectTypeRemoved:
		return "type removed " + member() + " " + c.Type.String()
	case schema.PermissionAdded:
		return "permission added " + member()
	case schema.PermissionRemoved:
		return "permission removed " + member()
	case schema.PermissionCommentChanged:
		return "permission comment " + member()
	case schema.PermissionExprChanged:
		return "permission expr " + member()
	case schema.CaveatAdded:
		return "caveat added " + c.Caveat.Name
	case schema.CaveatRemoved:
		return "caveat removed " + c.Caveat.Name
	case schema.CaveatCommentChanged:
		return "caveat comment " + c.Caveat.Name + " " + c.Caveat.Comment
	case schema.CaveatExprChanged:
		return "caveat expr " + c.Caveat.Name
	case schema.ParameterAdded:
		return "parameter added " + parameter()
	case schema.ParameterRemoved:
		return "parameter removed " + parameter()
	case schema.ParameterTypeChanged:
		return "parameter type " + parameter() + " (" + c.PreviousType + ")"
	}
	return fmt.Sprint("unknown ", c.Kind)
}

func TestDropped(t *testing.T) {
	const some = "caveat some(aaa int, bbb int) { aaa < bbb }\n"
	old := some + "definition user {}\ndefinition doc {\nrelation viewer: user | user:* with some\nrelation owner: user\n}\ndefinition note {\nrelation from: doc#viewer\n}"
	for _, c := range []struct{ next, want string }{
		{old, ""},
		{"definition user {}", "definition doc; definition note; caveat some"},
		{"", "definition user; definition doc; definition note; caveat some"},
		{strings.Replace(old, "relation owner: user", "permission owner = viewer", 1), "relation doc#owner"},
		{strings.Replace(old, "relation owner: user", "", 1), "relation doc#owner"},
		{strings.Replace(old, " | user:* with some", "", 1), `subject type "user:* with some" of relation doc#viewer`},
		{strings.Replace(old, "bbb int", "bbb double", 1), "parameter bbb of caveat some, or its type"},
		{strings.Replace(old, some, "caveat some(aaa int) { aaa < 3 }", 1), "parameter bbb of caveat some, or its type"},
		{strings.Replace(old, some, "caveat some(aaa int, bbb int, ccc int) { aaa < bbb + ccc }", 1), ""},
		{strings.Replace(old, "definition note {\nrelation from: doc#viewer\n}", "definition note {\nrelation from: doc\n}", 1), `subject type "doc#viewer" of relation note#from`},
	} {
		next, err := schema.Parse(c.next)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, d := range schema.Dropped(parse(t, old), next) {
			got = append(got, d.String())
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%q, not %q", got, c.want)
		}
	}
}

// TestDroppedOfRandomSchemas takes every relationship that one schema allows and
// another does not: some drop must cover it. What is allowed by both is covered
// at most by a change of its caveat.
func TestDroppedOfRandomSchemas(t *testing.T) {
	lost, kept := 0, 0
	seeds(t, 1500, func(r *rand.Rand) {
		sample := schematest.Random(r)
		old, next := parse(t, sample.Text), parse(t, schematest.Random(r).Text)
		drops := schema.Dropped(old, next)
		for p, types := range sample.Relations {
			for _, a := range types {
				rel := tuple.Relationship{
					Resource: tuple.Object{Type: p.Type, ID: "x"}, Relation: p.Relation,
					Subject: tuple.Subject{Object: tuple.Object{Type: a.Type, ID: "y"}, Relation: a.Relation}, Caveat: a.Caveat,
				}
				if a.Wildcard {
					rel.Subject.ID = tuple.Wildcard
				}
				if a.Expiration {
					rel.Expires = 1
				}
				if err := old.Allowed(rel); err != nil {
					t.Fatalf("%v: %v", rel, err)
				}
				covered := slices.ContainsFunc(drops, func(d schema.Drop) bool { return d.Covers(rel) })
				fits := next.Allowed(rel) == nil
				if covered == fits {
					t.Fatalf("%v covered %v, fits %v:\n%s\n----\n%s", rel, covered, fits, old.Text(), next.Text())
				}
				if fits {
					kept++
				} else {
					lost++
				}
			}
		}
	})
	if lost < 100 || kept < 100 {
		t.Errorf("%d relationships were lost and %d kept", lost, kept)
	}
}
