package grpcapi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm/memory"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// watch receives until enough says that it is enough.
func (c *client) watch(t *testing.T, req *v1.WatchRequest, enough func(*v1.WatchResponse) bool) (out []*v1.WatchResponse) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := c.Watch(ctx, req)
	for err == nil {
		var m *v1.WatchResponse
		if m, err = s.Recv(); err == nil {
			if out = append(out, m); enough(m) {
				return out
			}
		}
	}
	t.Fatalf("after %d messages: %v", len(out), err)
	return nil
}

// said is what messages say about relationships.
func said(t *testing.T, messages []*v1.WatchResponse) (out []string) {
	t.Helper()
	for _, m := range messages {
		for _, u := range m.Updates {
			op := strings.ToLower(strings.TrimPrefix(u.Operation.String(), "OPERATION_"))
			out = append(out, op+" "+text(t, u.Relationship))
		}
	}
	return out
}

func through(token string) func(*v1.WatchResponse) bool {
	want, _ := revision.ParseToken(token)
	return func(m *v1.WatchResponse) bool {
		got, err := revision.ParseToken(m.ChangesThrough.GetToken())
		return err == nil && got.LSN >= want.LSN
	}
}

func TestWatch(t *testing.T) {
	c := withSchema(t, documents)
	start := c.touch(t, "document:before#reader@user:ana")
	var want, tokens []string
	do := func(op v1.RelationshipUpdate_Operation, name string, rels ...string) {
		tokens = append(tokens, c.write(t, op, rels...))
		for _, r := range rels {
			want = append(want, name+" "+r)
		}
	}
	do(touch, "touch", "document:plan#reader@user:ana")
	do(create, "touch", "document:plan#owner@user:ben", "group:eng#member@user:cy")
	do(touch, "touch", "document:plan#reader@user:ana[office_hours]")
	do(remove, "delete", "document:plan#reader@user:ana[office_hours]")
	do(touch, "touch", "document:plan#reader@group:eng#member")
	last := tokens[len(tokens)-1]
	from := func(token string) *v1.WatchRequest {
		return &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: token}}
	}
	messages := c.watch(t, from(start), through(last))
	if got := said(t, messages); !slices.Equal(got, want) {
		t.Errorf("watched %q, want %q", got, want)
	}
	for i, m := range messages {
		if m.ChangesThrough.Token != tokens[i] || m.IsCheckpoint || m.SchemaUpdated {
			t.Errorf("message %d: %v, want the token %s", i, m, tokens[i])
		}
	}
	// From every token on the rest follows, without a gap and without repetition.
	for i := range len(messages) - 1 {
		got := slices.Concat(said(t, messages[:i+1]), said(t, c.watch(t, from(messages[i].ChangesThrough.Token), through(last))))
		if !slices.Equal(got, want) {
			t.Errorf("resumed behind message %d: %q, want %q", i, got, want)
		}
	}
	for _, tt := range []struct {
		change func(*v1.WatchRequest)
		keep   string
	}{
		{func(r *v1.WatchRequest) { r.OptionalObjectTypes = []string{"group"} }, " group:"},
		{func(r *v1.WatchRequest) { r.OptionalObjectTypes = []string{"document"} }, " document:"},
		{func(r *v1.WatchRequest) {
			r.OptionalRelationshipFilters = []*v1.RelationshipFilter{{ResourceType: "document", OptionalRelation: "owner"}}
		}, "#owner@"},
		{func(r *v1.WatchRequest) {
			r.OptionalRelationshipFilters = []*v1.RelationshipFilter{{OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: "group"}}}
		}, "@group:"},
	} {
		req := from(start)
		req.OptionalUpdateKinds = []v1.WatchKind{v1.WatchKind_WATCH_KIND_INCLUDE_RELATIONSHIP_UPDATES, v1.WatchKind_WATCH_KIND_INCLUDE_CHECKPOINTS}
		tt.change(req)
		got := said(t, c.watch(t, req, through(last)))
		if want := slices.DeleteFunc(slices.Clone(want), func(s string) bool { return !strings.Contains(s, tt.keep) }); !slices.Equal(got, want) || len(want) == 0 {
			t.Errorf("%v: %q, want %q", req, got, want)
		}
	}
	for _, bad := range []*v1.WatchRequest{
		{OptionalObjectTypes: []string{"group"}, OptionalRelationshipFilters: []*v1.RelationshipFilter{{ResourceType: "document"}}},
		{OptionalRelationshipFilters: []*v1.RelationshipFilter{{}}},
		from("garbage"),
		from(withSchema(t, documents).touch(t, "document:plan#reader@user:ana")),
	} {
		_, err := all(c.Watch(t.Context(), bad))
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestWatchKinds: schema changes and checkpoints come to those who want them.
func TestWatchKinds(t *testing.T) {
	c := withSchema(t, documents)
	start := c.touch(t, "document:plan#reader@user:ana")
	if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: documents + "\ndefinition folder {}\n"}); err != nil {
		t.Fatal(err)
	}
	last := c.touch(t, "document:plan#reader@user:ben")
	for _, tt := range []struct {
		kinds                              []v1.WatchKind
		schemas, relationships, checkpoint bool
	}{
		{nil, false, true, false},
		{[]v1.WatchKind{v1.WatchKind_WATCH_KIND_INCLUDE_CHECKPOINTS}, false, false, true},
		{[]v1.WatchKind{v1.WatchKind_WATCH_KIND_INCLUDE_SCHEMA_UPDATES, v1.WatchKind_WATCH_KIND_INCLUDE_CHECKPOINTS}, true, false, true},
		{[]v1.WatchKind{v1.WatchKind_WATCH_KIND_INCLUDE_RELATIONSHIP_UPDATES, v1.WatchKind_WATCH_KIND_INCLUDE_SCHEMA_UPDATES}, true, true, false},
	} {
		got := c.watch(t, &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: start}, OptionalUpdateKinds: tt.kinds}, through(last))
		var schemas, relationships, checkpoint bool
		for _, m := range got {
			schemas, relationships, checkpoint = schemas || m.SchemaUpdated, relationships || len(m.Updates) > 0, checkpoint || m.IsCheckpoint
		}
		if schemas != tt.schemas || relationships != tt.relationships || checkpoint != tt.checkpoint {
			t.Errorf("%v: %v", tt.kinds, got)
		}
	}
}

// TestWatchFromNow: without a start there is nothing of the past.
func TestWatchFromNow(t *testing.T) {
	c := withSchema(t, documents, "document:past#reader@user:ana")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := c.Watch(ctx, &v1.WatchRequest{OptionalUpdateKinds: []v1.WatchKind{
		v1.WatchKind_WATCH_KIND_INCLUDE_RELATIONSHIP_UPDATES, v1.WatchKind_WATCH_KIND_INCLUDE_CHECKPOINTS,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.Recv(); err != nil || !m.IsCheckpoint {
		t.Fatal(m, err)
	}
	c.touch(t, "document:plan#reader@user:ana")
	m, err := s.Recv()
	if got := said(t, []*v1.WatchResponse{m}); err != nil || !slices.Equal(got, []string{"touch document:plan#reader@user:ana"}) {
		t.Error(got, err)
	}
}

// TestWatchLargeTransaction: a transaction that does not fit a message comes in
// several, and a client that resumes from one of them loses nothing.
func TestWatchLargeTransaction(t *testing.T) {
	c := withSchema(t, documents)
	start := c.touch(t, "document:plan#reader@user:ana")
	const n = 2500
	s, err := c.ImportBulkRelationships(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := &v1.ImportBulkRelationshipsRequest{}
	for i := range n {
		m.Relationships = append(m.Relationships, rel(t, fmt.Sprintf("document:d%d#reader@user:ana", i)))
	}
	if err := s.Send(m); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CloseAndRecv(); err != nil {
		t.Fatal(err)
	}
	last := c.touch(t, "document:plan#reader@user:ben")
	messages := c.watch(t, &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: start}}, through(last))
	if len(messages) != 4 {
		t.Fatalf("%d messages", len(messages))
	}
	whole := said(t, messages)
	if len(whole) != n+1 {
		t.Errorf("%d updates, want %d", len(whole), n+1)
	}
	for i := range 2 {
		rest := said(t, c.watch(t, &v1.WatchRequest{OptionalStartCursor: messages[i].ChangesThrough}, through(last)))
		if !slices.Equal(rest, whole) {
			t.Errorf("resumed behind part %d of the transaction there are %d updates, want all %d", i, len(rest), len(whole))
		}
	}
	if rest := said(t, c.watch(t, &v1.WatchRequest{OptionalStartCursor: messages[2].ChangesThrough}, through(last))); len(rest) != 1 {
		t.Errorf("resumed behind the transaction: %q", rest)
	}
}

// TestLargeContexts: messages stay below what clients take, however much the
// relationships say.
func TestLargeContexts(t *testing.T) {
	c := withSchema(t, documents)
	start := c.touch(t, "document:plan#reader@user:ana")
	var rels []string
	context := `{"tz":"` + strings.Repeat("x", 20_000) + `"}`
	for i := range 500 {
		rels = append(rels, fmt.Sprintf("document:d%d#reader@user:ana[office_hours:%s]", i, context))
	}
	last := c.touch(t, rels...)
	got := said(t, c.watch(t, &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: start}}, through(last)))
	if len(got) != len(rels) {
		t.Errorf("watched %d, want %d", len(got), len(rels))
	}
	if got := c.exported(t, 0, nil); len(got) != len(rels)+1 {
		t.Errorf("exported %d, want %d", len(got), len(rels)+1)
	}
}

// TestWatchMetadata: what a writer says of a transaction reaches the watchers.
func TestWatchMetadata(t *testing.T) {
	c := withSchema(t, documents)
	start := c.touch(t, "document:plan#reader@user:ana")
	said := structOf(t, `{"by":"ana","nested":{"list":[1,true,null]}}`)
	resp, err := c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{
		Updates: updates(t, touch, "document:plan#reader@user:ben"), OptionalTransactionMetadata: said,
	})
	if err != nil {
		t.Fatal(err)
	}
	deleted, err := c.DeleteRelationships(t.Context(), &v1.DeleteRelationshipsRequest{
		RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document"}, OptionalTransactionMetadata: said,
	})
	if err != nil {
		t.Fatal(err)
	}
	got := c.watch(t, &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: start}}, through(deleted.DeletedAt.Token))
	if len(got) != 2 || got[0].ChangesThrough.Token != resp.WrittenAt.Token {
		t.Fatal(got)
	}
	for _, m := range got {
		if m.OptionalTransactionMetadata.String() != said.String() || len(m.FullRevisionMetadata) != 1 || m.FullRevisionMetadata[0].String() != said.String() {
			t.Errorf("%v, want the metadata %v", m, said)
		}
	}
}

// TestWatchBehind: a watcher is told when what it needs is not kept.
func TestWatchBehind(t *testing.T) {
	b := memory.New(time.Minute)
	c := serve(t, b)
	if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: documents}); err != nil {
		t.Fatal(err)
	}
	now, err := revision.ParseToken(c.touch(t, "document:plan#reader@user:ana"))
	if err != nil {
		t.Fatal(err)
	}
	now.LSN = 0 // before everything that is kept
	_, err = all(c.Watch(t.Context(), &v1.WatchRequest{OptionalStartCursor: &v1.ZedToken{Token: now.String()}}))
	refused(t, err, codes.OutOfRange, noReason)
}
