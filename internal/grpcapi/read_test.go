package grpcapi_test

import (
	"fmt"
	"slices"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// someRels are relationships of all kinds, as text.
func someRels() []string {
	out := []string{
		"document:plan#reader@user:*", "document:plan#reader@group:eng#member", "group:eng#member@user:ana",
		`document:plan#reader@user:cy[office_hours:{"hour":12,"tz":"UTC"}]`, "document:plan#reader@user:dan[office_hours]",
		"document:plan#reader@user:eve[expiration:2099-01-01T00:00:00.123456Z]",
	}
	for i := range 12 {
		out = append(out, fmt.Sprintf("document:d%d#owner@user:u%d", i, i%5), fmt.Sprintf("document:d%d#banned@user:u%d", i, i%3))
	}
	slices.Sort(out)
	return out
}

func (c *client) readPages(t *testing.T, f *v1.RelationshipFilter, limit uint32) (out []string) {
	t.Helper()
	req := &v1.ReadRelationshipsRequest{RelationshipFilter: f, OptionalLimit: limit, Consistency: full()}
	for {
		page, err := all(c.ReadRelationships(t.Context(), req))
		if err != nil {
			t.Fatal(err)
		}
		if limit > 0 && len(page) > int(limit) {
			t.Fatalf("a page of %d, the limit is %d", len(page), limit)
		}
		for _, r := range page {
			if r.ReadAt.GetToken() == "" {
				t.Fatalf("%v has no token", r)
			}
			out = append(out, text(t, r.Relationship))
			req.OptionalCursor = r.AfterResultCursor
		}
		if limit == 0 || len(page) < int(limit) {
			return out
		}
	}
}

func TestReadRelationships(t *testing.T) {
	rels := someRels()
	c := withSchema(t, documents, append(rels, "document:old#reader@user:eve[expiration:2000-01-01T00:00:00Z]")...)
	none, member := "", "member"
	for _, tt := range []struct {
		f *v1.RelationshipFilter
		g graph.Filter
	}{
		{&v1.RelationshipFilter{ResourceType: "document"}, graph.Filter{ResourceType: "document"}},
		{&v1.RelationshipFilter{ResourceType: "group"}, graph.Filter{ResourceType: "group"}},
		{&v1.RelationshipFilter{ResourceType: "document", OptionalResourceId: "plan"}, graph.Filter{ResourceType: "document", ResourceID: "plan"}},
		{&v1.RelationshipFilter{OptionalResourceIdPrefix: "d1"}, graph.Filter{ResourceIDPrefix: "d1"}},
		{&v1.RelationshipFilter{OptionalRelation: "owner"}, graph.Filter{Relation: "owner"}},
		{&v1.RelationshipFilter{OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: "user", OptionalSubjectId: "u1"}}, graph.Filter{Subject: &graph.SubjectFilter{Type: "user", ID: "u1"}}},
		{&v1.RelationshipFilter{OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: "user", OptionalSubjectId: "*"}}, graph.Filter{Subject: &graph.SubjectFilter{Type: "user", ID: "*"}}},
		{&v1.RelationshipFilter{OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: "group", OptionalRelation: &v1.SubjectFilter_RelationFilter{Relation: "member"}}}, graph.Filter{Subject: &graph.SubjectFilter{Type: "group", Relation: &member}}},
		{&v1.RelationshipFilter{ResourceType: "document", OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: "user", OptionalRelation: &v1.SubjectFilter_RelationFilter{}}}, graph.Filter{ResourceType: "document", Subject: &graph.SubjectFilter{Type: "user", Relation: &none}}},
	} {
		var want []string
		for _, r := range rels {
			if tt.g.Match(parse(t, r)) {
				want = append(want, r)
			}
		}
		if len(want) == 0 {
			t.Errorf("%v selects nothing", tt.f)
		}
		whole := c.readPages(t, tt.f, 0)
		for _, limit := range []uint32{1, 2, 7, 1000} {
			if got := c.readPages(t, tt.f, limit); !slices.Equal(got, whole) {
				t.Errorf("%v in pages of %d: %q, as a whole %q", tt.f, limit, got, whole)
			}
		}
		slices.Sort(whole)
		if !slices.Equal(whole, want) {
			t.Errorf("%v: %q, want %q", tt.f, whole, want)
		}
	}
	// A cursor keeps to its snapshot and to its filter.
	f := &v1.RelationshipFilter{ResourceType: "document"}
	whole := c.readPages(t, f, 0)
	first, err := all(c.ReadRelationships(t.Context(), &v1.ReadRelationshipsRequest{RelationshipFilter: f, OptionalLimit: 3, Consistency: full()}))
	if err != nil {
		t.Fatal(err)
	}
	c.write(t, remove, whole[3], whole[5])
	c.touch(t, "document:new#owner@user:ana")
	for range 100 { // until the snapshot has to be made again
		c.touch(t, "document:a#owner@user:ana")
		c.write(t, remove, "document:a#owner@user:ana")
	}
	second, err := all(c.ReadRelationships(t.Context(), &v1.ReadRelationshipsRequest{RelationshipFilter: f, OptionalCursor: first[2].AfterResultCursor}))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range append(first, second...) {
		got = append(got, text(t, r.Relationship))
	}
	if !slices.Equal(got, whole) {
		t.Errorf("pages with a write between them: %q, want %q", got, whole)
	}
	_, err = all(c.ReadRelationships(t.Context(), &v1.ReadRelationshipsRequest{
		RelationshipFilter: &v1.RelationshipFilter{ResourceType: "group"}, OptionalCursor: first[2].AfterResultCursor,
	}))
	refused(t, err, codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
}

// TestCursorOfAnotherLoad: relationships that are loaded again are listed in
// another order, in which a cursor's place means something else.
func TestCursorOfAnotherLoad(t *testing.T) {
	b := &reloaded{Backend: memory.New(0)}
	c := serve(t, b)
	if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: documents}); err != nil {
		t.Fatal(err)
	}
	c.touch(t, someRels()...)
	f := &v1.RelationshipFilter{ResourceType: "document"}
	page, err := all(c.ReadRelationships(t.Context(), &v1.ReadRelationshipsRequest{RelationshipFilter: f, OptionalLimit: 1}))
	if err != nil {
		t.Fatal(err)
	}
	next := &v1.ReadRelationshipsRequest{RelationshipFilter: f, OptionalCursor: page[0].AfterResultCursor}
	if _, err := all(c.ReadRelationships(t.Context(), next)); err != nil {
		t.Fatal(err)
	}
	if v, err := b.Backend.View(t.Context(), revision.Requirement{}); err != nil || v.Order == 0 {
		t.Fatal("the order is that of no load", err)
	}
	b.order = 1
	_, err = all(c.ReadRelationships(t.Context(), next))
	refused(t, err, codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_CURSOR)
}

type reloaded struct {
	perm.Backend
	order uint64 // another than the backend's, if any
}

func (b *reloaded) View(ctx ctx, req revision.Requirement) (perm.View, error) {
	v, err := b.Backend.View(ctx, req)
	if err == nil && b.order != 0 {
		version := *v.Version
		version.Order = b.order
		v.Version = &version
	}
	return v, err
}

func (c *client) exported(t *testing.T, limit uint32, f *v1.RelationshipFilter) (out []string) {
	t.Helper()
	req := &v1.ExportBulkRelationshipsRequest{OptionalLimit: limit, OptionalRelationshipFilter: f, Consistency: full()}
	batches, err := all(c.ExportBulkRelationships(t.Context(), req))
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range batches {
		if limit > 0 && len(b.Relationships) > int(limit) || len(b.Relationships) == 0 {
			t.Errorf("a batch of %d, the limit is %d", len(b.Relationships), limit)
		}
		for _, r := range b.Relationships {
			out = append(out, text(t, r))
		}
		if i > 0 {
			continue
		}
		req.OptionalCursor = b.AfterResultCursor
		rest, err := all(c.ExportBulkRelationships(t.Context(), req))
		if err != nil {
			t.Fatal(err)
		}
		n := len(out)
		for _, b := range rest {
			n += len(b.Relationships)
		}
		defer func() {
			if n != len(out) {
				t.Errorf("resumed behind the first batch there are %d, without a stop %d", n, len(out))
			}
		}()
	}
	return out
}

func TestImportAndExport(t *testing.T) {
	rels := someRels()
	c := withSchema(t, documents)
	load := func(c *client, batches ...[]string) (uint64, error) {
		s, err := c.ImportBulkRelationships(t.Context())
		if err != nil {
			return 0, err
		}
		for _, b := range batches {
			m := &v1.ImportBulkRelationshipsRequest{}
			for _, r := range b {
				m.Relationships = append(m.Relationships, rel(t, r))
			}
			if s.Send(m) != nil {
				break // the error is what CloseAndRecv returns
			}
		}
		resp, err := s.CloseAndRecv()
		return resp.GetNumLoaded(), err
	}
	if n, err := load(c, rels[:4], nil, rels[4:]); err != nil || n != uint64(len(rels)) {
		t.Fatal(n, err)
	}
	whole := c.exported(t, 0, nil)
	for _, limit := range []uint32{1, 2, 10_000} {
		if got := c.exported(t, limit, nil); !slices.Equal(got, whole) {
			t.Errorf("in batches of %d: %q, as a whole %q", limit, got, whole)
		}
	}
	slices.Sort(whole)
	if !slices.Equal(whole, rels) {
		t.Errorf("exported %q, want %q", whole, rels)
	}
	if got := c.exported(t, 0, &v1.RelationshipFilter{ResourceType: "group"}); len(got) != 1 {
		t.Errorf("exported of groups: %q", got)
	}
	other := withSchema(t, documents)
	if n, err := load(other, whole); err != nil || n != uint64(len(rels)) {
		t.Fatal(n, err)
	}
	again := other.exported(t, 0, nil)
	slices.Sort(again)
	if !slices.Equal(again, rels) {
		t.Errorf("there and back: %q, want %q", again, rels)
	}
	// An import is one transaction, and only creates.
	_, err := load(other, []string{"document:fresh#owner@user:ana"}, rels[:1])
	if err == nil {
		t.Error("an import of what exists passed")
	} else {
		refused(t, err, codes.AlreadyExists, v1.ErrorReason_ERROR_REASON_ATTEMPT_TO_RECREATE_RELATIONSHIP, "relationship", "resource_type",
			"resource_object_id", "resource_relation", "subject_type", "subject_object_id", "subject_relation")
	}
	if got := other.exported(t, 0, nil); len(got) != len(rels) {
		t.Errorf("a failed import left %d relationships, there were %d", len(got), len(rels))
	}
	_, err = load(other, []string{"document:fresh#view@user:ana"})
	refused(t, err, codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CANNOT_UPDATE_PERMISSION, "definition_name", "permission_name")
	for _, bad := range []func(*v1.Relationship){
		func(r *v1.Relationship) { r.Resource.ObjectId = "*" },
		func(r *v1.Relationship) { r.Subject.Object.ObjectId, r.Subject.OptionalRelation = "*", "member" },
		func(r *v1.Relationship) { r.Subject = nil },
	} {
		r := rel(t, "document:fresh#owner@user:ana")
		bad(r)
		s, err := other.ImportBulkRelationships(t.Context())
		if err == nil {
			_ = s.Send(&v1.ImportBulkRelationshipsRequest{Relationships: []*v1.Relationship{r}})
			_, err = s.CloseAndRecv()
		}
		if err == nil {
			t.Errorf("%v was imported", r)
		}
	}
}

func TestDelete(t *testing.T) {
	c := withSchema(t, documents, someRels()...)
	f := &v1.RelationshipFilter{ResourceType: "document", OptionalRelation: "owner"}
	req := &v1.DeleteRelationshipsRequest{RelationshipFilter: f, OptionalLimit: 5, OptionalAllowPartialDeletions: true}
	want := []uint64{5, 5, 2}
	for i, n := range want {
		resp, err := c.DeleteRelationships(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		progress := v1.DeleteRelationshipsResponse_DELETION_PROGRESS_PARTIAL
		if i == len(want)-1 {
			progress = v1.DeleteRelationshipsResponse_DELETION_PROGRESS_COMPLETE
		}
		if resp.RelationshipsDeletedCount != n || resp.DeletionProgress != progress || resp.DeletedAt.GetToken() == "" {
			t.Errorf("deletion %d: %v", i, resp)
		}
	}
	if got := c.readPages(t, f, 0); len(got) != 0 {
		t.Errorf("%q are left", got)
	}
	if got := c.readPages(t, &v1.RelationshipFilter{ResourceType: "document"}, 0); len(got) != len(someRels())-1-12 {
		t.Errorf("%d others are left", len(got))
	}
	resp, err := c.DeleteRelationships(t.Context(), &v1.DeleteRelationshipsRequest{RelationshipFilter: f})
	if err != nil || resp.RelationshipsDeletedCount != 0 || resp.DeletionProgress != v1.DeleteRelationshipsResponse_DELETION_PROGRESS_COMPLETE {
		t.Errorf("nothing to delete: %v, %v", resp, err)
	}
}

func TestCounters(t *testing.T) {
	c := withSchema(t, documents, append(someRels(), "document:old#reader@user:eve[expiration:2000-01-01T00:00:00Z]")...)
	ctx := t.Context()
	register := &v1.ExperimentalRegisterRelationshipCounterRequest{Name: "readers", RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document", OptionalRelation: "reader"}}
	if _, err := c.ExperimentalRegisterRelationshipCounter(ctx, register); err != nil {
		t.Fatal(err)
	}
	count := func() uint64 {
		t.Helper()
		resp, err := c.ExperimentalCountRelationships(ctx, &v1.ExperimentalCountRelationshipsRequest{Name: "readers"})
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetReadCounterValue().GetReadAt().GetToken() == "" {
			t.Errorf("%v has no token", resp)
		}
		return resp.GetReadCounterValue().GetRelationshipCount()
	}
	if n := count(); n != 5 {
		t.Errorf("counted %d, want 5", n)
	}
	c.touch(t, "document:memo#reader@user:ana")
	if n := count(); n != 6 {
		t.Errorf("counted %d after a write, want 6", n)
	}
	_, err := c.ExperimentalRegisterRelationshipCounter(ctx, register)
	refused(t, err, codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_COUNTER_ALREADY_REGISTERED)
	if _, err := c.ExperimentalUnregisterRelationshipCounter(ctx, &v1.ExperimentalUnregisterRelationshipCounterRequest{Name: "readers"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.ExperimentalCountRelationships(ctx, &v1.ExperimentalCountRelationshipsRequest{Name: "readers"})
	refused(t, err, codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_COUNTER_NOT_REGISTERED)
}
