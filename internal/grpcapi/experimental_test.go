//lint:file-ignore SA1019 the older names are what is tested

package grpcapi_test

import (
	"slices"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// TestOlderMessages: the messages of the older names look the same on the wire,
// so that nothing is lost where one is written as the other.
func TestOlderMessages(t *testing.T) {
	for _, pair := range [][2]proto.Message{
		{&v1.ExperimentalReflectSchemaRequest{}, &v1.ReflectSchemaRequest{}},
		{&v1.ReflectSchemaResponse{}, &v1.ExperimentalReflectSchemaResponse{}},
		{&v1.ExperimentalComputablePermissionsRequest{}, &v1.ComputablePermissionsRequest{}},
		{&v1.ComputablePermissionsResponse{}, &v1.ExperimentalComputablePermissionsResponse{}},
		{&v1.ExperimentalDependentRelationsRequest{}, &v1.DependentRelationsRequest{}},
		{&v1.DependentRelationsResponse{}, &v1.ExperimentalDependentRelationsResponse{}},
		{&v1.ExperimentalDiffSchemaRequest{}, &v1.DiffSchemaRequest{}},
		{&v1.DiffSchemaResponse{}, &v1.ExperimentalDiffSchemaResponse{}},
		{&v1.BulkCheckPermissionRequest{}, &v1.CheckBulkPermissionsRequest{}},
		{&v1.CheckBulkPermissionsResponse{}, &v1.BulkCheckPermissionResponse{}},
	} {
		sameWire(t, pair[0].ProtoReflect().Descriptor(), pair[1].ProtoReflect().Descriptor(), map[protoreflect.FullName]bool{})
	}
}

// sameWire compares every field of one message with the one of its number in the
// other, and enumerations by their numbers.
func sameWire(t *testing.T, from, to protoreflect.MessageDescriptor, seen map[protoreflect.FullName]bool) {
	t.Helper()
	if from.FullName() == to.FullName() || seen[from.FullName()] {
		return
	}
	seen[from.FullName()] = true
	for i := range from.Fields().Len() {
		f := from.Fields().Get(i)
		g := to.Fields().ByNumber(f.Number())
		switch {
		case g == nil && f.FullName() == "authzed.api.v1.CheckBulkPermissionsResponseItem.debug_trace":
			// It is there when asked for, which the older request cannot.
			if (&v1.BulkCheckPermissionRequest{}).ProtoReflect().Descriptor().Fields().ByName("with_tracing") != nil {
				t.Errorf("%s can be asked for, and not be answered", f.FullName())
			}
		case g == nil:
			t.Errorf("%s has nothing for %s", to.FullName(), f.FullName())
		case f.Kind() != g.Kind() || f.Cardinality() != g.Cardinality() || f.Name() != g.Name():
			t.Errorf("%s is %s %s, %s is %s %s", f.FullName(), f.Cardinality(), f.Kind(), g.FullName(), g.Cardinality(), g.Kind())
		case f.Message() != nil:
			sameWire(t, f.Message(), g.Message(), seen)
		case f.Enum() != nil && f.Enum() != g.Enum():
			for j := range f.Enum().Values().Len() {
				v := f.Enum().Values().Get(j)
				if w := g.Enum().Values().ByNumber(v.Number()); w == nil {
					t.Errorf("%s has nothing for %s", g.Enum().FullName(), v.FullName())
				}
			}
		}
	}
}

// TestOlderNames asks under both names of a call.
func TestOlderNames(t *testing.T) {
	c := withSchema(t, documents, "document:plan#reader@user:ana", "document:plan#reader@user:cy[office_hours]")
	ctx := t.Context()
	same := func(name string, older, newer proto.Message, err1, err2 error) {
		t.Helper()
		if err1 != nil || err2 != nil {
			t.Errorf("%s: %v, %v", name, err1, err2)
			return
		}
		if a, b := prototext.Format(older), prototext.Format(newer); a != b || a == "" {
			t.Errorf("%s: %v under its older name, %v under the newer", name, older, newer)
		}
	}
	r1, err1 := c.ExperimentalReflectSchema(ctx, &v1.ExperimentalReflectSchemaRequest{Consistency: full()})
	r2, err2 := c.ReflectSchema(ctx, &v1.ReflectSchemaRequest{Consistency: full()})
	same("reflect", r1, r2, err1, err2)
	c1, err1 := c.ExperimentalComputablePermissions(ctx, &v1.ExperimentalComputablePermissionsRequest{DefinitionName: "document", RelationName: "reader"})
	c2, err2 := c.ComputablePermissions(ctx, &v1.ComputablePermissionsRequest{DefinitionName: "document", RelationName: "reader"})
	same("computable", c1, c2, err1, err2)
	d1, err1 := c.ExperimentalDependentRelations(ctx, &v1.ExperimentalDependentRelationsRequest{DefinitionName: "document", PermissionName: "view"})
	d2, err2 := c.DependentRelations(ctx, &v1.DependentRelationsRequest{DefinitionName: "document", PermissionName: "view"})
	same("dependent", d1, d2, err1, err2)
	next := documents + "\ndefinition folder {\n\trelation owner: user\n}\n"
	f1, err1 := c.ExperimentalDiffSchema(ctx, &v1.ExperimentalDiffSchemaRequest{ComparisonSchema: next})
	f2, err2 := c.DiffSchema(ctx, &v1.DiffSchemaRequest{ComparisonSchema: next})
	same("diff", f1, f2, err1, err2)
	q := question(t, "document:plan#view@user:cy")
	bad := question(t, "document:plan#nothing@user:cy")
	b1, err1 := c.BulkCheckPermission(ctx, &v1.BulkCheckPermissionRequest{Items: []*v1.BulkCheckPermissionRequestItem{
		{Resource: q.Resource, Permission: q.Permission, Subject: q.Subject}, {Resource: bad.Resource, Permission: bad.Permission, Subject: bad.Subject},
	}})
	b2, err2 := c.CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{Items: []*v1.CheckBulkPermissionsRequestItem{
		{Resource: q.Resource, Permission: q.Permission, Subject: q.Subject}, {Resource: bad.Resource, Permission: bad.Permission, Subject: bad.Subject},
	}})
	same("bulk check", b1, b2, err1, err2)
	e1, err1 := all(c.BulkExportRelationships(ctx, &v1.BulkExportRelationshipsRequest{Consistency: full()}))
	e2, err2 := all(c.ExportBulkRelationships(ctx, &v1.ExportBulkRelationshipsRequest{Consistency: full()}))
	if len(e1) != 1 || len(e2) != 1 {
		t.Fatal(e1, e2)
	}
	same("export", e1[0], e2[0], err1, err2)
	s, err := c.BulkImportRelationships(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&v1.BulkImportRelationshipsRequest{Relationships: []*v1.Relationship{rel(t, "document:memo#reader@user:ana")}}); err != nil {
		t.Fatal(err)
	}
	resp, err := s.CloseAndRecv()
	if err != nil || resp.NumLoaded != 1 {
		t.Error(resp, err)
	}
	if got := c.readPages(t, &v1.RelationshipFilter{OptionalResourceId: "memo"}, 0); !slices.Equal(got, []string{"document:memo#reader@user:ana"}) {
		t.Errorf("imported %q", got)
	}
}
