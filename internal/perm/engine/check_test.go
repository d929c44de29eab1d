package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

func parse(t testing.TB, text string) tuple.Relationship {
	t.Helper()
	r, err := tuple.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// view makes a view of a schema and relationships that fit it.
func view(t testing.TB, text string, relationships ...string) engine.View {
	t.Helper()
	s, err := schema.Parse("use self\nuse expiration\n" + caveatText + text)
	if err != nil {
		t.Fatal(err)
	}
	b := graph.NewBuilder()
	for _, line := range relationships {
		r := parse(t, line)
		if err := errors.Join(s.Allowed(r), b.Add(r)); err != nil {
			t.Fatal(err)
		}
	}
	g, err := b.Graph()
	if err != nil {
		t.Fatal(err)
	}
	return engine.View{Model: engine.Compile(s), Snapshot: g.Snapshot(), Now: clock}
}

func check(t testing.TB, v engine.View, question string, given map[string]any) string {
	t.Helper()
	r := parse(t, question)
	res, err := engine.Check(context.Background(), v, r.Resource, r.Relation, r.Subject, given, engine.Options{})
	if err != nil {
		return err.Error()
	}
	return strings.TrimSuffix(fmt.Sprint(res.Has, " ", res.Missing), " []")
}

func TestOperators(t *testing.T) {
	v := view(t, `
definition user {}
definition bot {}
definition group {
	relation member: user | group#member | user:*
	permission people = member
}
definition team {
	relation lead: user | user with isone
	permission may = lead + self
}
definition page {
	relation viewer: user | user:* | group#member | group
	relation banned: user | user with isone
	relation team: team | team with less
	permission view = viewer - banned
	permission any = team->may
	permission every = team.all(may)
	permission none = nil
	permission gone = team->nothere + team.all(nothere)
}`,
		"group:in#member@group:in#member", "group:in#member@user:ana",
		"group:loop#member@group:loop#member",
		"page:p#viewer@user:*", "page:p#banned@user:bob", `page:p#banned@user:cid[isone]`,
		"page:q#viewer@group:in#member", "page:q#viewer@group:open",
		"team:a#lead@user:ana", "team:a#lead@user:bob", "team:b#lead@user:ana", "team:b#lead@user:cid[isone]",
		"page:p#team@team:a", "page:p#team@team:b",
		`page:q#team@team:a[less:{"y":1}]`,
	)
	for _, c := range []struct {
		question string
		given    map[string]any
		want     string
	}{
		{"group:in#member@user:ana", nil, "yes"},
		{"group:loop#member@user:ana", nil, "no"},
		{"group:loop#member@group:loop#member", nil, "yes"},
		{"group:new#member@group:new#member", nil, "yes"},
		{"group:new#people@group:new#member", nil, "yes"},
		{"group:new#member@group:new#people", nil, "no"},
		{"group:new#member@group:old#member", nil, "no"},

		{"page:p#view@user:nobody", nil, "yes"},
		{"page:p#view@user:bob", nil, "no"},
		{"page:p#view@user:cid", nil, "conditional [x]"},
		{"page:p#view@user:cid", map[string]any{"x": 1.0}, "no"},
		{"page:p#view@user:cid", map[string]any{"x": 2.0}, "yes"},
		{"page:p#view@bot:b", nil, "no"},
		{"page:p#view@group:in#member", nil, "no"},
		{"page:q#view@user:ana", nil, "yes"},
		{"page:q#view@group:in#member", nil, "yes"},
		{"page:q#view@group:open", nil, "yes"},
		{"page:q#view@group:open#member", nil, "no"},

		{"page:p#any@user:bob", nil, "yes"},
		{"page:p#any@user:cid", nil, "conditional [x]"},
		{"page:p#any@team:b", nil, "yes"},
		{"page:p#every@user:ana", nil, "yes"},
		{"page:p#every@user:bob", nil, "no"},
		{"page:p#every@user:cid", nil, "no"},
		{"page:none#every@user:ana", nil, "no"},
		{"page:q#every@user:ana", nil, "conditional [z]"},
		{"page:q#every@user:ana", map[string]any{"z": 2.0}, "yes"},
		{"page:q#every@user:ana", map[string]any{"z": 1.0}, "no"},
		{"page:p#none@user:ana", nil, "no"},
		{"page:p#gone@user:ana", nil, "no"},

		{"page:p#nothere@user:ana", nil, `definition "page" has no relation or permission "nothere"`},
		{"page:p#view@group:in#nothere", nil, `definition "group" has no relation or permission "nothere"`},
		{"nothere:p#view@user:ana", nil, `the schema has no definition "nothere"`},
		{"page:p#view@nothere:ana", nil, `the schema has no definition "nothere"`},
		{"page:p#view@user:*", nil, "subject cannot be a wildcard"},
		{"page:p#view@user:cid", map[string]any{"x": "a"}, `caveat "isone" cannot be evaluated`},
	} {
		if got := check(t, v, c.question, c.given); got != c.want && !strings.HasPrefix(got, c.want+":") {
			t.Errorf("%s given %v: %s, not %s", c.question, c.given, got, c.want)
		}
	}
}

// chain is groups each of which contains the next, and the last a user. Their
// relations have a caveat, which keeps answers from climbing, or not.
func chain(t *testing.T, n int, with string) engine.View {
	lines := []string{fmt.Sprintf("group:g%d#member@user:ana", n-1)}
	for i := range n - 1 {
		lines = append(lines, fmt.Sprintf("group:g%d#member@group:g%d#member", i, i+1))
	}
	return view(t, "definition user {}\ndefinition group {\nrelation member: user | group#member"+with+"\n}", lines...)
}

func TestDepth(t *testing.T) {
	for _, with := range []string{"", " | user with isone"} {
		if got := check(t, chain(t, 45, with), "group:g0#member@user:ana", nil); got != "yes" {
			t.Errorf("45 levels%s: %s", with, got)
		}
		for _, n := range []int{55, 500} {
			v := chain(t, n, with)
			for _, user := range []string{"ana", "bob"} {
				r := parse(t, "group:g0#member@user:"+user)
				_, err := engine.Check(context.Background(), v, r.Resource, r.Relation, r.Subject, nil, engine.Options{})
				var depth *engine.DepthError
				if user == "bob" && with == "" {
					if err != nil {
						t.Errorf("%d levels: %v for somebody who is nowhere", n, err)
					}
				} else if !errors.As(err, &depth) || depth.Limit != engine.DefaultDepth || depth.Negation {
					t.Errorf("%d levels%s: %v", n, with, err)
				}
			}
		}
	}
}

// What was too deep along a long way is found along a short one.
func TestDepthIsOfTheShortestWay(t *testing.T) {
	const n = 60
	lines := []string{fmt.Sprintf("group:g%d#member@user:ana", n-1)}
	for i := range n {
		lines = append(lines, fmt.Sprintf("group:g%d#member@group:g%d#member", i, (i+1)%n))
	}
	lines = append(lines, fmt.Sprintf("group:g0#other@group:g%d#member", n-1), "group:g0#other@group:g40#member")
	v := view(t, `definition user {}
definition group {
	relation other: group#member
	relation member: user | group#member | user with isone
	permission either = member + other
}`, lines...)
	for question, want := range map[string]string{"group:g0#either@user:ana": "yes", "group:g0#other@user:ana": "yes", "group:g20#member@user:ana": "yes"} {
		if got := check(t, v, question, nil); got != want {
			t.Errorf("%s: %s", question, got)
		}
	}
}

func TestOwnExclusion(t *testing.T) {
	v := view(t, `definition user {}
definition page {
	relation viewer: user
	relation over: page
	permission view = viewer - over->view
}`, "page:a#viewer@user:ana", "page:a#over@page:b", "page:b#viewer@user:ana", "page:b#over@page:a",
		"page:c#viewer@user:ana", "page:c#over@page:d", "page:d#over@page:c", "page:s#over@page:s", "page:s#viewer@user:ana")
	r := parse(t, "page:a#view@user:ana")
	for _, page := range []string{"a", "b", "s"} {
		_, err := engine.Check(context.Background(), v, tuple.Object{Type: "page", ID: page}, "view", r.Subject, nil, engine.Options{})
		var depth *engine.DepthError
		if !errors.As(err, &depth) || !depth.Negation {
			t.Errorf("page %s: %v", page, err)
		}
	}
	for question, want := range map[string]string{"page:c#view@user:ana": "yes", "page:d#view@user:ana": "no"} {
		if got := check(t, v, question, nil); got != want {
			t.Errorf("%s: %s", question, got)
		}
	}
}

// Cycles that share much are found out about in a time that people wait for.
func TestTangle(t *testing.T) {
	const n = 120
	var lines []string
	for i := range n {
		for j := range n {
			lines = append(lines, fmt.Sprintf("group:g%d#member@group:g%d#member", i, j))
		}
	}
	for _, with := range []string{"", " | group#member with isone", " | user with isone"} {
		v := view(t, "definition user {}\ndefinition group {\nrelation member: user | group#member"+with+"\n}", lines...)
		got := check(t, v, "group:g0#member@user:ana", nil)
		if got != "no" && !strings.HasPrefix(got, "maximum depth exceeded") {
			t.Errorf("%q: %s", with, got)
		}
	}
}

func TestCanceled(t *testing.T) {
	v := view(t, "definition user {}\ndefinition group {\nrelation member: user\npermission may = member\n}", "group:a#member@user:ana")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	r := parse(t, "group:a#may@user:bob")
	if _, err := engine.Check(ctx, v, r.Resource, r.Relation, r.Subject, nil, engine.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
	if _, err := engine.LookupSubjects(ctx, v, r.Resource, r.Relation, "user", "", nil, engine.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("subjects: %v", err)
	}
	if _, err := engine.Expand(ctx, v, r.Resource, r.Relation, engine.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("expand: %v", err)
	}
}

func TestTrace(t *testing.T) {
	v := view(t, `definition user {}
definition group {
	relation member: user with isone | group#member
}
definition page {
	relation viewer: group#member
	relation banned: user
	permission see = viewer - banned
	permission view = see & (see + nil)
}`, `group:in#member@user:ana[isone:{"x":1}]`, "group:out#member@group:in#member", "page:p#viewer@group:out#member")
	r := parse(t, "page:p#view@user:ana")
	res, err := engine.Check(context.Background(), v, r.Resource, r.Relation, r.Subject, map[string]any{"x": 2.0, "y": 3.0}, engine.Options{Trace: true})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var show func(tr *engine.Trace, indent string)
	show = func(tr *engine.Trace, indent string) {
		line := fmt.Sprintf("%s%s#%s@%s %v", indent, tr.Resource, tr.Name, tr.Subject, tr.Has)
		if tr.Permission {
			line += " permission"
		}
		if tr.Cached {
			line += " cached"
		}
		for _, c := range tr.Caveats {
			line += fmt.Sprintf(" [%s %s %v %v]", c.Name, c.Expression, c.Context, c.Has)
		}
		lines = append(lines, line)
		for _, s := range tr.Sub {
			show(s, indent+"  ")
		}
	}
	show(res.Trace, "")
	want := []string{
		"page:p#view@user:ana yes permission",
		"  page:p#see@user:ana yes permission",
		"    page:p#viewer@user:ana yes",
		"      group:out#member@user:ana yes",
		"        group:in#member@user:ana yes [isone x == 1 map[x:1] yes]",
		"    page:p#banned@user:ana no",
		"  page:p#see@user:ana yes permission cached",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nnot\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestExpand(t *testing.T) {
	v := view(t, `definition user {}
definition folder {
	relation viewer: user
	permission view = viewer
}
definition page {
	relation parent: folder | user with expiration
	relation viewer: user | user with isone
	relation banned: user with expiration
	permission view = (viewer + parent->view) - banned
}`, "folder:f#viewer@user:ana", "page:p#parent@folder:f", "page:p#viewer@user:bob[isone]", "page:p#banned@user:cid[expiration:2020-01-01T00:00:00Z]")
	tree, err := engine.Expand(context.Background(), v, tuple.Object{Type: "page", ID: "p"}, "view", engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var show func(t *engine.Tree) string
	show = func(t *engine.Tree) string {
		var parts []string
		for _, s := range t.Subjects {
			part := s.String()
			for _, tr := range s.Traits {
				part += "[" + tr.Caveat + "]"
			}
			parts = append(parts, part)
		}
		for _, c := range t.Children {
			parts = append(parts, show(c))
		}
		return fmt.Sprintf("%s#%s %s(%s)", t.Object, t.Name, []string{"", "+", "&", "-"}[t.Operation], strings.Join(parts, ", "))
	}
	want := "page:p#view -(page:p#view +(page:p#viewer (user:bob[isone]), page:p#view +(folder:f#view +(folder:f#viewer (user:ana)))), page:p#banned ())"
	if got := show(tree); got != want {
		t.Errorf("got %s\nnot %s", got, want)
	}
}

// A resource may have more sets than the subject is in.
func TestManySets(t *testing.T) {
	lines := []string{"group:g7#people@user:ana", "group:g8#member@user:bob", "page:p#viewer@group:g9#member[isone]", "group:g9#member@user:cid", "group:top#people@group:g8#member"}
	for i := range 100 {
		if i != 9 {
			lines = append(lines, fmt.Sprintf("page:p#viewer@group:g%d#member", i), fmt.Sprintf("page:p#viewer@group:g%d#people", i))
		}
	}
	lines = append(lines, "page:q#viewer@group:top#people")
	v := view(t, `definition user {}
definition group {
	relation people: user | group#member
	relation member: user
}
definition page {
	relation viewer: group#member | group#people | group#member with isone
}`, lines...)
	for question, want := range map[string]string{
		"page:p#viewer@user:ana": "yes", "page:p#viewer@user:bob": "yes", "page:p#viewer@user:cid": "conditional [x]", "page:p#viewer@user:dan": "no",
		"page:q#viewer@user:ana": "no", "page:q#viewer@user:bob": "yes", "page:p#viewer@group:g9#people": "no", "page:p#viewer@group:g7#people": "yes",
	} {
		if got := check(t, v, question, nil); got != want {
			t.Errorf("%s: %s, not %s", question, got, want)
		}
	}
}

// What names something that the schema does not know, or has a caveat that it does
// not expect, gives nothing.
func TestUnfit(t *testing.T) {
	v := view(t, `definition user {}
definition bot {}
definition group {
	relation member: user
}
definition page {
	relation viewer: group#member
	relation owner: group
	permission view = viewer + owner->member
	permission all = owner.all(member)
}`)
	var updates []graph.Update
	for _, line := range []string{
		"group:a#member@user:ana[isone]", "page:p#viewer@group:a#member", "page:p#viewer@bot:b", "page:p#viewer@user:*",
		"page:p#nothere@user:bob", "page:q#owner@nothere:x", "page:q#owner@user:cid", "group:b#member@user:ana", "page:q#owner@group:b",
		"group:c#member@user:dan[nothere]", "page:r#viewer@group:c#member",
	} {
		updates = append(updates, graph.Update{Relationship: parse(t, line)})
	}
	snap, err := v.Snapshot.Graph().Apply(updates)
	if err != nil {
		t.Fatal(err)
	}
	v.Snapshot = snap
	for question, want := range map[string]string{
		"page:p#view@user:ana": "no", "page:p#view@bot:b": "no", "page:p#view@user:bob": "no",
		"page:q#view@user:ana": "yes", "page:q#all@user:ana": "yes", "page:q#view@user:cid": "no",
		"page:r#view@user:dan": "no",
	} {
		if got := check(t, v, question, nil); got != want {
			t.Errorf("%s: %s, not %s", question, got, want)
		}
	}
}

// A relationship counts only with a qualification that its relation takes,
// wherever it stands.
func TestUnfitQualification(t *testing.T) {
	v := view(t, `definition user {
	permission itself = self
}
definition group {
	relation member: user | user with expiration
}
definition folder {
	relation viewer: user | group#member with isone
}
definition page {
	relation viewer: user with isone | user:* with expiration
	relation banned: user with isone and expiration
	relation parent: folder with isone
	relation open: user | user:*
	relation author: user
	permission view = viewer + parent->viewer
	permission allowed = open - banned
	permission every = parent.all(viewer)
	permission writers = author->itself
}`)
	const soon = "2030-01-01T00:00:00Z"
	var updates []graph.Update
	for _, line := range []string{
		"page:p#viewer@user:ana", "page:p#viewer@user:bob[isone]", "page:p#viewer@user:bob",
		"page:p#viewer@user:cid[isone][expiration:" + soon + "]", "page:p#viewer@user:dan[expiration:" + soon + "]", "page:p#viewer@user:eve[less]",
		"page:w#viewer@user:*", "page:w#viewer@user:*[isone]", "page:e#viewer@user:*[expiration:" + soon + "]", "page:e#viewer@user:*",
		"folder:f#viewer@user:ana", "folder:f#viewer@group:g#member", "folder:f#viewer@group:h#member[isone]",
		"group:g#member@user:bob", "group:h#member@user:cid[isone]", "group:h#member@user:cid", "group:h#member@user:dan[isone]",
		"page:c#parent@folder:f", "page:d#parent@folder:f[isone]", "page:d#parent@folder:g",
		"page:o#open@user:*", "page:o#open@user:ana[isone]", "page:o#banned@user:ana", "page:o#banned@user:bob[isone]", "page:o#banned@user:cid[isone][expiration:" + soon + "]",
		"page:a#author@user:*", "page:a#author@user:ana",
	} {
		updates = append(updates, graph.Update{Relationship: parse(t, line)})
	}
	snap, err := v.Snapshot.Graph().Apply(updates)
	if err != nil {
		t.Fatal(err)
	}
	v.Snapshot = snap
	for question, want := range map[string]string{
		"page:p#view@user:ana": "no", "page:p#view@user:bob": "conditional [x]", "page:p#view@user:cid": "no", "page:p#view@user:dan": "no", "page:p#view@user:eve": "no",
		"page:w#view@user:ana": "no", "page:e#view@user:ana": "yes",
		"folder:f#viewer@user:bob": "no", "folder:f#viewer@user:cid": "conditional [x]", "folder:f#viewer@user:dan": "no",
		"page:c#view@user:ana": "no", "page:d#view@user:ana": "conditional [x]", "page:c#every@user:ana": "no", "page:d#every@user:ana": "conditional [x]",
		"page:o#banned@user:ana": "no", "page:o#allowed@user:ana": "yes", "page:o#allowed@user:bob": "yes", "page:o#allowed@user:cid": "conditional [x]",
		"page:a#writers@user:ana": "yes", "page:a#writers@user:bob": "no",
	} {
		if got := check(t, v, question, nil); got != want {
			t.Errorf("%s: %s, not %s", question, got, want)
		}
	}
	for question, want := range map[string]string{
		"page:o#allowed": "[{{* yes []} [{cid conditional [x]}]} {{cid conditional [x]} []}]", // ana and bob are not mentioned
		"page:p#viewer":  "[{{bob conditional [x]} []}]",
		"page:a#writers": "[{{ana yes []} []}]",
	} {
		r := parse(t, question+"@user:x")
		found, err := engine.LookupSubjects(context.Background(), v, r.Resource, r.Relation, "user", "", nil, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(found); got != want {
			t.Errorf("%s: %s, not %s", question, got, want)
		}
	}
	r := parse(t, "page:p#view@user:ana")
	if found, err := engine.LookupResources(context.Background(), v, "page", "view", r.Subject, nil, engine.Page{}, engine.Options{}); err != nil || fmt.Sprint(found) != "[{d conditional [x]} {e yes []}]" {
		t.Errorf("resources: %v, %v", found, err)
	}
	// Levels that nothing leads to are not too many.
	r = parse(t, "page:a#writers@user:bob")
	if res, err := engine.Check(context.Background(), v, r.Resource, r.Relation, r.Subject, nil, engine.Options{Depth: 1}); err == nil {
		t.Errorf("author ana is behind a second level: %v", res)
	}
	if snap, err = snap.Graph().Apply([]graph.Update{{Op: graph.Remove, Relationship: parse(t, "page:a#author@user:ana")}}); err != nil {
		t.Fatal(err)
	}
	v.Snapshot = snap
	if res, err := engine.Check(context.Background(), v, r.Resource, r.Relation, r.Subject, nil, engine.Options{Depth: 1}); err != nil || res.Has != engine.No {
		t.Errorf("all users, where each may be an author, lead to a second level: %v, %v", res, err)
	}
}
