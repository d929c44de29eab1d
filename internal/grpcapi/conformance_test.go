package grpcapi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

func toProto(t testing.TB, r tuple.Relationship) *v1.Relationship {
	t.Helper()
	out := &v1.Relationship{
		Resource: &v1.ObjectReference{ObjectType: r.Resource.Type, ObjectId: r.Resource.ID}, Relation: r.Relation,
		Subject: &v1.SubjectReference{
			Object: &v1.ObjectReference{ObjectType: r.Subject.Type, ObjectId: r.Subject.ID}, OptionalRelation: r.Subject.Relation,
		},
	}
	if r.Caveat != "" {
		out.OptionalCaveat = &v1.ContextualizedCaveat{CaveatName: r.Caveat, Context: structOf(t, r.Context)}
	}
	if r.Expires != 0 {
		out.OptionalExpiresAt = timestamppb.New(time.UnixMicro(r.Expires))
	}
	return out
}

func structOf(t testing.TB, text string) *structpb.Struct {
	t.Helper()
	if text == "" {
		return nil
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestConformance runs the public validation files through the wire.
func TestConformance(t *testing.T) {
	for _, file := range conformance(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var f struct {
				Schema        string
				Relationships string
				Assertions    map[string][]string
			}
			if err := yaml.Unmarshal(text, &f); err != nil {
				t.Fatal(err)
			}
			c := fresh(t)
			if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: f.Schema}); err != nil {
				t.Fatal(err)
			}
			var rels []string
			for line := range strings.Lines(f.Relationships) {
				line = strings.TrimSpace(line)
				if line == "" || strings.HasPrefix(line, "//") {
					continue
				}
				rels = append(rels, line)
			}
			req := &v1.WriteRelationshipsRequest{Updates: updates(t, touch, rels...)}
			if _, err := c.WriteRelationships(t.Context(), req); err != nil {
				t.Fatal(err)
			}
			asked := 0
			for list, want := range map[string]v1.CheckPermissionResponse_Permissionship{
				"assertTrue":     v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION,
				"assertCaveated": v1.CheckPermissionResponse_PERMISSIONSHIP_CONDITIONAL_PERMISSION,
				"assertFalse":    v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION,
			} {
				for _, line := range f.Assertions[list] {
					r, context, err := tuple.ParseWith(line)
					if err != nil {
						t.Fatal(err)
					}
					p := toProto(t, r)
					item := &v1.CheckBulkPermissionsRequestItem{Resource: p.Resource, Permission: r.Relation, Subject: p.Subject, Context: structOf(t, context)}
					one, err := c.CheckPermission(t.Context(), &v1.CheckPermissionRequest{
						Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
						Resource:    p.Resource, Permission: r.Relation, Subject: p.Subject, Context: item.Context,
					})
					if err != nil || one.Permissionship != want {
						t.Errorf("%s %s: %v, %v", list, line, one.GetPermissionship(), err)
					}
					bulk, err := c.CheckBulkPermissions(t.Context(), &v1.CheckBulkPermissionsRequest{Items: []*v1.CheckBulkPermissionsRequestItem{item}})
					if err != nil || bulk.Pairs[0].GetItem().GetPermissionship() != want {
						t.Errorf("%s %s in bulk: %v, %v", list, line, bulk, err)
					}
					asked++
				}
			}
			if asked == 0 {
				t.Log("the file asserts nothing about checks")
			}
			sch, err := schema.Parse(f.Schema)
			if err != nil {
				t.Fatal(err)
			}
			agree(t, c, sch, rels, map[string]int{})
		})
	}
}
