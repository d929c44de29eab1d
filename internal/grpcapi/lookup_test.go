package grpcapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

func resources(typ, permission, subject string) *v1.LookupResourcesRequest {
	s := parseSubject(subject)
	return &v1.LookupResourcesRequest{ResourceObjectType: typ, Permission: permission, Subject: s, Consistency: full()}
}

func subjectsOf(resource, permission, typ string) *v1.LookupSubjectsRequest {
	r, id, _ := strings.Cut(resource, ":")
	t, relation, _ := strings.Cut(typ, "#")
	return &v1.LookupSubjectsRequest{
		Resource: &v1.ObjectReference{ObjectType: r, ObjectId: id}, Permission: permission,
		SubjectObjectType: t, OptionalSubjectRelation: relation, Consistency: full(),
	}
}

func parseSubject(text string) *v1.SubjectReference {
	typ, rest, _ := strings.Cut(text, ":")
	id, relation, _ := strings.Cut(rest, "#")
	return &v1.SubjectReference{Object: &v1.ObjectReference{ObjectType: typ, ObjectId: id}, OptionalRelation: relation}
}

// resourceText is a result of LookupResources without what repeats.
func resourceText(r *v1.LookupResourcesResponse) string {
	out := r.ResourceObjectId
	if r.Permissionship == v1.LookupPermissionship_LOOKUP_PERMISSIONSHIP_CONDITIONAL_PERMISSION {
		out += " if " + strings.Join(r.PartialCaveatInfo.MissingRequiredContext, ",")
	} else if r.PartialCaveatInfo != nil || r.Permissionship != v1.LookupPermissionship_LOOKUP_PERMISSIONSHIP_HAS_PERMISSION {
		out += fmt.Sprint(" ?", r)
	}
	return out
}

// pages reads all pages of a lookup.
func (c *client) pages(t *testing.T, req *v1.LookupResourcesRequest, limit uint32) (out []string) {
	t.Helper()
	req.OptionalLimit, req.OptionalCursor = limit, nil
	for {
		page, err := all(c.LookupResources(t.Context(), req))
		if err != nil {
			t.Fatal(err)
		}
		if limit > 0 && len(page) > int(limit) {
			t.Fatalf("a page of %d, the limit is %d", len(page), limit)
		}
		for _, r := range page {
			if r.LookedUpAt.GetToken() == "" || r.AfterResultCursor.GetToken() == "" {
				t.Fatalf("%v has no token or no cursor", r)
			}
			out = append(out, resourceText(r))
			req.OptionalCursor = r.AfterResultCursor
		}
		if limit == 0 || len(page) < int(limit) {
			return out
		}
	}
}

func TestLookupResources(t *testing.T) {
	c := withSchema(t, documents,
		"document:a#reader@user:ana", "document:b#reader@group:eng#member", "group:eng#member@user:ana",
		"document:c#reader@user:ana[office_hours]", "document:d#reader@user:*", "document:d#banned@user:ana",
		`document:e#reader@user:ana[office_hours:{"hour":12}]`, "document:f#owner@user:ana", "document:g#owner@user:ben",
		"document:h#reader@user:ana[expiration:2000-01-01T00:00:00Z]",
		`document:i#reader@user:ana[office_hours:{"hour":20}]`,
	)
	req := resources("document", "view", "user:ana")
	want := []string{"a", "b", "c if hour,tz", "e if tz", "f"}
	for _, limit := range []uint32{0, 1, 2, 5, 1000} {
		if got := c.pages(t, req, limit); !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %q, want %q", limit, got, want)
		}
	}
	req.Context = structOf(t, `{"tz":"UTC","hour":9}`)
	if got := c.pages(t, req, 0); !slices.Equal(got, []string{"a", "b", "c", "e", "f"}) {
		t.Errorf("with a context: %q", got)
	}
	// A cursor keeps to its snapshot, whatever has been written since.
	req = resources("document", "view", "user:ana")
	req.OptionalLimit = 2
	page, err := all(c.LookupResources(t.Context(), req))
	if err != nil || len(page) != 2 {
		t.Fatal(page, err)
	}
	c.write(t, remove, "document:f#owner@user:ana")
	c.touch(t, "document:z#owner@user:ana")
	req.OptionalCursor, req.OptionalLimit = page[1].AfterResultCursor, 0
	var got []string
	rest, err := all(c.LookupResources(t.Context(), req))
	for _, r := range rest {
		got = append(got, resourceText(r))
		if r.LookedUpAt.Token != page[0].LookedUpAt.Token {
			t.Errorf("%v was looked up at another time than the first page", r)
		}
	}
	if err != nil || !slices.Equal(got, want[2:]) {
		t.Errorf("the second page: %q, %v", got, err)
	}
	// And to its call.
	for name, change := range map[string]func(*v1.LookupResourcesRequest){
		"permission": func(r *v1.LookupResourcesRequest) { r.Permission = "edit" },
		"subject":    func(r *v1.LookupResourcesRequest) { r.Subject.Object.ObjectId = "ben" },
		"type":       func(r *v1.LookupResourcesRequest) { r.ResourceObjectType, r.Permission = "group", "member" },
		"context":    func(r *v1.LookupResourcesRequest) { r.Context = structOf(t, `{"tz":"UTC"}`) },
	} {
		other := resources("document", "view", "user:ana")
		other.OptionalCursor = page[1].AfterResultCursor
		change(other)
		_, err := all(c.LookupResources(t.Context(), other))
		if err == nil {
			t.Errorf("the cursor of another %s was taken", name)
			continue
		}
		refused(t, err, codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
	}
	_, err = all(c.ReadRelationships(t.Context(), &v1.ReadRelationshipsRequest{
		RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document"}, OptionalCursor: page[1].AfterResultCursor,
	}))
	refused(t, err, codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
}

// subjectText is a result of LookupSubjects; it fails where the older fields say
// something else.
func subjectText(t *testing.T, r *v1.LookupSubjectsResponse) string {
	t.Helper()
	one := func(s *v1.ResolvedSubject) string {
		return resourceText(&v1.LookupResourcesResponse{
			ResourceObjectId: s.SubjectObjectId, Permissionship: s.Permissionship, PartialCaveatInfo: s.PartialCaveatInfo,
		})
	}
	out := one(r.Subject)
	//lint:ignore SA1019 older clients read the older fields
	older := one(&v1.ResolvedSubject{SubjectObjectId: r.SubjectObjectId, Permissionship: r.Permissionship, PartialCaveatInfo: r.PartialCaveatInfo})
	//lint:ignore SA1019 older clients read the older fields
	ids := r.ExcludedSubjectIds
	if older != out || len(ids) != len(r.ExcludedSubjects) {
		t.Errorf("the older fields say %s except %v, the new ones %s except %v", older, ids, out, r.ExcludedSubjects)
	}
	for i, x := range r.ExcludedSubjects {
		out += " -" + one(x)
		if ids[i] != x.SubjectObjectId {
			t.Errorf("the older fields exclude %v, the new ones %v", ids, r.ExcludedSubjects)
		}
	}
	return out
}

func (c *client) subjects(t *testing.T, req *v1.LookupSubjectsRequest) (out []string) {
	t.Helper()
	found, err := all(c.LookupSubjects(t.Context(), req))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range found {
		if r.LookedUpAt.GetToken() == "" {
			t.Errorf("%v has no token", r)
		}
		out = append(out, subjectText(t, r))
	}
	return out
}

func TestLookupSubjects(t *testing.T) {
	c := withSchema(t, documents,
		"document:plan#reader@user:*", "document:plan#banned@user:ben", "document:plan#banned@user:cy", "document:plan#owner@user:ana",
		"document:memo#reader@group:eng#member", "group:eng#member@user:dan", "document:memo#reader@user:eve[office_hours]",
		"group:all#member@user:*", "document:open#reader@group:all#member",
	)
	for _, tt := range []struct {
		req  *v1.LookupSubjectsRequest
		want string
	}{
		{subjectsOf("document:plan", "view", "user"), "* -ben -cy; ana"},
		{subjectsOf("document:plan", "edit", "user"), "ana"},
		{subjectsOf("document:memo", "view", "user"), "dan; eve if hour,tz"},
		{subjectsOf("document:memo", "view", "group#member"), "eng"},
		{subjectsOf("document:open", "view", "user"), "*"},
		{subjectsOf("document:nothing", "view", "user"), ""},
	} {
		if got := strings.Join(c.subjects(t, tt.req), "; "); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.req, got, tt.want)
		}
	}
	req := subjectsOf("document:plan", "view", "user")
	req.WildcardOption = v1.LookupSubjectsRequest_WILDCARD_OPTION_EXCLUDE_WILDCARDS
	if got := c.subjects(t, req); !slices.Equal(got, []string{"ana"}) {
		t.Errorf("without wildcards: %q", got)
	}
}

func treeText(n *v1.PermissionRelationshipTree) string {
	name := n.ExpandedObject.ObjectType + ":" + n.ExpandedObject.ObjectId + "#" + n.ExpandedRelation
	var parts []string
	if leaf := n.GetLeaf(); leaf != nil {
		for _, s := range leaf.Subjects {
			parts = append(parts, tuple.Subject{Object: tuple.Object{Type: s.Object.ObjectType, ID: s.Object.ObjectId}, Relation: s.OptionalRelation}.String())
		}
		return name + "{" + strings.Join(parts, " ") + "}"
	}
	for _, c := range n.GetIntermediate().Children {
		parts = append(parts, treeText(c))
	}
	op := strings.TrimPrefix(n.GetIntermediate().Operation.String(), "OPERATION_")
	return name + " " + strings.ToLower(op) + "(" + strings.Join(parts, ", ") + ")"
}

func TestExpand(t *testing.T) {
	c := withSchema(t, documents, "document:plan#reader@user:ana", "document:plan#reader@group:eng#member", "group:eng#member@user:dan",
		"document:plan#banned@user:ben", "document:plan#reader@user:old[expiration:2000-01-01T00:00:00Z]")
	for permission, want := range map[string]string{
		"reader": "document:plan#reader{user:ana group:eng#member}",
		"view": "document:plan#view exclusion(document:plan#view union(document:plan#reader{user:ana group:eng#member}, document:plan#owner{}), " +
			"document:plan#banned{user:ben})",
		"edit": "document:plan#edit union(document:plan#owner{})",
	} {
		resp, err := c.ExpandPermissionTree(t.Context(), &v1.ExpandPermissionTreeRequest{
			Consistency: full(), Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: "plan"}, Permission: permission,
		})
		if err != nil || resp.ExpandedAt.GetToken() == "" {
			t.Fatal(resp, err)
		}
		if got := treeText(resp.TreeRoot); got != want {
			t.Errorf("%s: %s, want %s", permission, got, want)
		}
	}
}
