package grpcapi_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/schema/schematest"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// TestRandom draws schemas and relationships, and has every way of asking
// compared with every other.
func TestRandom(t *testing.T) {
	const scenarios = 30
	tally := map[string]int{}
	for seed := uint64(1); seed <= scenarios; seed++ {
		rng := rand.New(rand.NewPCG(seed, 3))
		sample := schematest.Random(rng)
		rels := drawn(rng, sample)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := withSchema(t, sample.Text, rels...)
			sch, err := schema.Parse(sample.Text)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, c, sch, rels, tally)
			if t.Failed() {
				t.Logf("%s\n%s", sch.Text(), strings.Join(rels, "\n"))
			}
		})
	}
	t.Log(tally)
	for _, kind := range []string{"yes", "conditional", "no", "resources", "subjects", "wildcards", "excluded"} {
		if tally[kind] == 0 {
			t.Errorf("nothing was %s", kind)
		}
	}
}

// drawn draws relationships that a schema takes.
func drawn(rng *rand.Rand, sample schematest.Sample) []string {
	pairs := slices.SortedFunc(maps.Keys(sample.Relations), func(a, b schema.Pair) int {
		return strings.Compare(a.Type+"#"+a.Relation, b.Type+"#"+b.Relation)
	})
	seen := map[tuple.Relationship]bool{}
	var out []string
	for range 20 + rng.IntN(60) {
		p := pairs[rng.IntN(len(pairs))]
		types := sample.Relations[p]
		a := types[rng.IntN(len(types))]
		id := func() string { return fmt.Sprintf("x%d", rng.IntN(4)) }
		r := tuple.Relationship{
			Resource: tuple.Object{Type: p.Type, ID: id()}, Relation: p.Relation,
			Subject: tuple.Subject{Object: tuple.Object{Type: a.Type, ID: id()}, Relation: a.Relation}, Caveat: a.Caveat,
		}
		if a.Wildcard {
			r.Subject.ID = tuple.Wildcard
		}
		if r.Caveat == "at_least" && rng.IntN(2) == 0 {
			r.Context = fmt.Sprintf(`{"level":%d}`, rng.IntN(3))
			if rng.IntN(2) == 0 {
				r.Context = fmt.Sprintf(`{"level":%d,"minimum":1}`, rng.IntN(3))
			}
		}
		if a.Expiration {
			r.Expires = time.Now().Add(time.Duration(rng.IntN(3)-1) * time.Hour).UnixMicro()
		}
		if !seen[r.Key()] {
			seen[r.Key()] = true
			out = append(out, r.String())
		}
	}
	return out
}

// agree asks every question about the objects that relationships name, one by
// one, in bulk, and by lookups, and compares.
func agree(t *testing.T, c *client, sch *schema.Schema, rels []string, tally map[string]int) {
	t.Helper()
	byType := map[string]map[string]bool{}
	for _, d := range sch.Definitions {
		byType[d.Name] = map[string]bool{"unnamed": true}
	}
	for _, text := range rels {
		r := parse(t, text)
		byType[r.Resource.Type][r.Resource.ID] = true
		if r.Subject.ID != tuple.Wildcard {
			byType[r.Subject.Type][r.Subject.ID] = true
		}
	}
	for _, d := range sch.Definitions {
		var members []string
		for _, r := range d.Relations {
			members = append(members, r.Name)
		}
		for _, p := range d.Permissions {
			members = append(members, p.Name)
		}
		for _, m := range members {
			for _, s := range sch.Definitions {
				if answers, ok := c.asked(t, byType, d.Name, m, s.Name, tally); ok {
					c.lookedUp(t, byType, d.Name, m, s.Name, answers, tally)
				}
			}
		}
	}
}

// asked returns the answers by resource and subject, and whether there is one to
// each question.
func (c *client) asked(t *testing.T, byType map[string]map[string]bool, typ, member, subject string, tally map[string]int) (map[[2]string]string, bool) {
	t.Helper()
	bulk := &v1.CheckBulkPermissionsRequest{Consistency: full()}
	for res := range byType[typ] {
		for sub := range byType[subject] {
			bulk.Items = append(bulk.Items, &v1.CheckBulkPermissionsRequestItem{
				Resource: &v1.ObjectReference{ObjectType: typ, ObjectId: res}, Permission: member,
				Subject: &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: subject, ObjectId: sub}},
			})
		}
	}
	resp, err := c.CheckBulkPermissions(t.Context(), bulk)
	if err != nil {
		t.Fatal(err)
	}
	answers, complete := map[[2]string]string{}, true
	for i, p := range resp.Pairs {
		if !proto.Equal(p.Request, bulk.Items[i]) {
			t.Fatalf("pair %d is of %v, not of %v", i, p.Request, bulk.Items[i])
		}
		answer := "failed"
		if item := p.GetItem(); item != nil {
			answer = checkText(item.Permissionship, item.PartialCaveatInfo)
		} else {
			complete = false
		}
		tally[strings.Fields(answer)[0]]++
		answers[[2]string{p.Request.Resource.ObjectId, p.Request.Subject.Object.ObjectId}] = answer
		if i%7 != 0 {
			continue
		}
		one, err := c.CheckPermission(t.Context(), &v1.CheckPermissionRequest{
			Consistency: full(), Resource: p.Request.Resource, Permission: p.Request.Permission, Subject: p.Request.Subject,
			WithTracing: i%3 == 0,
		})
		single := "failed"
		if err == nil {
			single = checkText(one.Permissionship, one.PartialCaveatInfo)
			if (one.DebugTrace != nil) != (i%3 == 0) {
				t.Errorf("%v: the trace %v", p.Request, one.DebugTrace)
			}
		}
		if single != answer {
			t.Errorf("%v: %s alone, %s in bulk", p.Request, single, answer)
		}
	}
	return answers, complete
}

func checkText(p v1.CheckPermissionResponse_Permissionship, info *v1.PartialCaveatInfo) string {
	switch {
	case p == v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION && info == nil:
		return "yes"
	case p == v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION && info == nil:
		return "no"
	case p == v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION && len(info.GetMissingRequiredContext()) > 0:
		return "conditional " + strings.Join(info.MissingRequiredContext, ",")
	}
	return fmt.Sprint("broken ", p, info)
}

func lookupText(p v1.LookupPermissionship, info *v1.PartialCaveatInfo) string {
	if p == v1.LookupPermissionship_LOOKUP_PERMISSIONSHIP_CONDITIONAL_PERMISSION {
		return checkText(v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION, info)
	}
	return checkText(v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, info)
}

// lookedUp compares what lookups find with the answers.
func (c *client) lookedUp(t *testing.T, byType map[string]map[string]bool, typ, member, subject string, answers map[[2]string]string, tally map[string]int) {
	t.Helper()
	for sub := range byType[subject] {
		req := resources(typ, member, subject+":"+sub)
		found, err := all(c.LookupResources(t.Context(), req))
		if err != nil {
			t.Errorf("%v: %v", req, err)
			continue
		}
		got := map[string]string{}
		for _, f := range found {
			if got[f.ResourceObjectId] != "" {
				t.Errorf("%v: %s twice", req, f.ResourceObjectId)
			}
			got[f.ResourceObjectId] = lookupText(f.Permissionship, f.PartialCaveatInfo)
			tally["resources"]++
		}
		for res := range byType[typ] {
			if want := answers[[2]string{res, sub}]; got[res] != want && (want != "no" || got[res] != "") {
				t.Errorf("%s:%s#%s@%s:%s: the check says %s, the lookup of resources %q", typ, res, member, subject, sub, want, got[res])
			}
			delete(got, res)
		}
		if len(got) > 0 {
			t.Errorf("%v: nobody asked for %v", req, got)
		}
		if len(found) > 1 {
			for _, limit := range []uint32{1, 2} {
				var whole []string
				for _, f := range found {
					whole = append(whole, resourceText(f))
				}
				if pages := c.pages(t, req, limit); !slices.Equal(pages, whole) {
					t.Errorf("%v in pages of %d: %q, as a whole %q", req, limit, pages, whole)
				}
			}
		}
	}
	for res := range byType[typ] {
		req := subjectsOf(typ+":"+res, member, subject)
		found, err := all(c.LookupSubjects(t.Context(), req))
		if err != nil {
			t.Errorf("%v: %v", req, err)
			continue
		}
		got, excluded, everyone := map[string]string{}, map[string]bool{}, "no"
		for _, f := range found {
			subjectText(t, f) // compares the older fields
			answer := lookupText(f.Subject.Permissionship, f.Subject.PartialCaveatInfo)
			if f.Subject.SubjectObjectId != tuple.Wildcard {
				got[f.Subject.SubjectObjectId] = answer
				tally["subjects"]++
				continue
			}
			everyone = answer
			tally["wildcards"]++
			for _, x := range f.ExcludedSubjects {
				excluded[x.SubjectObjectId] = true
				tally["excluded"]++
			}
		}
		for sub := range byType[subject] {
			answer, ok := got[sub]
			switch {
			case !ok && excluded[sub]:
				answer = "no"
			case !ok:
				answer = everyone
			}
			if want := answers[[2]string{res, sub}]; answer != want {
				t.Errorf("%s:%s#%s@%s:%s: the check says %s, the lookup of subjects %s", typ, res, member, subject, sub, want, answer)
			}
		}
	}
}
