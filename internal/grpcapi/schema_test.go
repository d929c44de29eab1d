package grpcapi_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
)

const annotated = `/** somebody */
definition user {}

// Ascending counts.
caveat few(count int, most int) {
	count < most
}

definition document {
	// Who wrote it.
	relation writer: user | user:*
	relation reader: user with few | document#writer
	permission view = reader + writer
	permission all = view
}
`

func TestSchema(t *testing.T) {
	c := fresh(t)
	w, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: annotated})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	if err != nil || r.ReadAt.GetToken() != w.WrittenAt.GetToken() {
		t.Fatal(r, err)
	}
	// The text that is read says the same, and is what a second reader gets.
	if _, err := c.WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: r.SchemaText}); err != nil {
		t.Fatal(err)
	}
	again, err := c.ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	if err != nil || again.SchemaText != r.SchemaText || !strings.Contains(r.SchemaText, "relation writer: user | user:*") {
		t.Errorf("%v: read\n%s\nthen\n%s", err, r.SchemaText, again.GetSchemaText())
	}
	d, err := c.DiffSchema(t.Context(), &v1.DiffSchemaRequest{ComparisonSchema: annotated})
	if err != nil || len(d.Diffs) != 0 || d.ReadAt.GetToken() == "" {
		t.Errorf("the schema differs from itself: %v, %v", d, err)
	}
}

func TestReflection(t *testing.T) {
	c := withSchema(t, annotated)
	whole, err := c.ReflectSchema(t.Context(), &v1.ReflectSchemaRequest{})
	if err != nil || len(whole.Definitions) != 2 || len(whole.Caveats) != 1 || whole.ReadAt.GetToken() == "" {
		t.Fatal(whole, err)
	}
	doc := whole.Definitions[0]
	if doc.Name != "document" || len(doc.Relations) != 2 || len(doc.Permissions) != 2 || whole.Definitions[1].Comment == "" {
		t.Fatal(whole)
	}
	for _, r := range doc.Relations {
		var types []string
		for _, s := range r.SubjectTypes {
			types = append(types, fmt.Sprint(s.SubjectDefinitionName, " ", s.OptionalCaveatName, " ", reflect.TypeOf(s.Typeref).Elem().Name(), " ", s.GetOptionalRelationName()))
		}
		want := []string{"user  ReflectionTypeReference_IsTerminalSubject ", "user  ReflectionTypeReference_IsPublicWildcard "}
		if r.Name == "reader" {
			want = []string{"document  ReflectionTypeReference_OptionalRelationName writer", "user few ReflectionTypeReference_IsTerminalSubject "}
		} else if !strings.Contains(r.Comment, "Who wrote it.") {
			t.Errorf("the comment %q", r.Comment)
		}
		slices.Sort(types)
		slices.Sort(want)
		if !slices.Equal(types, want) || r.ParentDefinitionName != "document" {
			t.Errorf("%s: %q, want %q", r.Name, types, want)
		}
	}
	few := whole.Caveats[0]
	if few.Name != "few" || len(few.Parameters) != 2 || few.Parameters[0].Type != "int" || few.Parameters[0].ParentCaveatName != "few" || few.Expression == "" {
		t.Errorf("%v", few)
	}
	for _, tt := range []struct {
		filter *v1.ReflectionSchemaFilter
		want   string // definitions, relations, permissions, caveats
	}{
		{&v1.ReflectionSchemaFilter{OptionalDefinitionNameFilter: "doc"}, "1 2 2 0"},
		{&v1.ReflectionSchemaFilter{OptionalCaveatNameFilter: "few"}, "0 0 0 1"},
		{&v1.ReflectionSchemaFilter{OptionalDefinitionNameFilter: "document", OptionalRelationNameFilter: "reader"}, "1 1 0 0"},
		{&v1.ReflectionSchemaFilter{OptionalDefinitionNameFilter: "document", OptionalPermissionNameFilter: "view"}, "1 0 1 0"},
	} {
		got, err := c.ReflectSchema(t.Context(), &v1.ReflectSchemaRequest{OptionalFilters: []*v1.ReflectionSchemaFilter{tt.filter}})
		if err != nil {
			t.Errorf("%v: %v", tt.filter, err)
			continue
		}
		relations, permissions := 0, 0
		for _, d := range got.Definitions {
			relations, permissions = relations+len(d.Relations), permissions+len(d.Permissions)
		}
		if s := fmt.Sprint(len(got.Definitions), relations, permissions, len(got.Caveats)); s != tt.want {
			t.Errorf("%v: %s, want %s", tt.filter, s, tt.want)
		}
	}
	_, err = c.ReflectSchema(t.Context(), &v1.ReflectSchemaRequest{OptionalFilters: []*v1.ReflectionSchemaFilter{{OptionalRelationNameFilter: "reader"}}})
	refused(t, err, codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_FILTER, "filter")
	_, err = fresh(t).ReflectSchema(t.Context(), &v1.ReflectSchemaRequest{})
	refused(t, err, codes.NotFound, noReason)
}

func TestDependence(t *testing.T) {
	c := withSchema(t, annotated)
	names := func(refs []*v1.ReflectionRelationReference) (out []string) {
		for _, r := range refs {
			name := r.DefinitionName + "#" + r.RelationName
			if r.IsPermission {
				name += "!"
			}
			out = append(out, name)
		}
		slices.Sort(out)
		return out
	}
	computable, err := c.ComputablePermissions(t.Context(), &v1.ComputablePermissionsRequest{DefinitionName: "document", RelationName: "writer"})
	if got := names(computable.GetPermissions()); err != nil || !slices.Equal(got, []string{"document#all!", "document#reader", "document#view!"}) && !slices.Equal(got, []string{"document#all!", "document#view!"}) {
		t.Errorf("computable: %q, %v", got, err)
	}
	dependent, err := c.DependentRelations(t.Context(), &v1.DependentRelationsRequest{DefinitionName: "document", PermissionName: "all"})
	if got := names(dependent.GetRelations()); err != nil || !slices.Equal(got, []string{"document#reader", "document#view!", "document#writer"}) {
		t.Errorf("dependent: %q, %v", got, err)
	}
	_, err = c.DependentRelations(t.Context(), &v1.DependentRelationsRequest{DefinitionName: "nothing", PermissionName: "all"})
	refused(t, err, codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION, "definition_name")
	_, err = c.DependentRelations(t.Context(), &v1.DependentRelationsRequest{DefinitionName: "document", PermissionName: "nothing"})
	refused(t, err, codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_UNKNOWN_RELATION_OR_PERMISSION, "definition_name", "relation_or_permission_name")
}

// TestDiff makes every kind of difference that there is a message for.
func TestDiff(t *testing.T) {
	c := withSchema(t, annotated)
	seen := map[string]bool{}
	for _, change := range [][2]string{
		{"/** somebody */\ndefinition user {}", "/** anybody */\ndefinition user {}"},
		{"definition document", "definition folder {}\ndefinition document"},
		{"// Who wrote it.", "// Who keeps it."},
		{"relation writer: user | user:*", "relation writer: user"},
		{"relation writer: user | user:*", "relation writer: user | user:* | document#reader"},
		{"\tpermission all", "\trelation added: user\n\tpermission all"},
		{"permission all = view", "permission all = view\n\tpermission more = view"},
		{"\tpermission all = view\n", ""},
		{"permission all = view", "// what it says\n\tpermission all = view"},
		{"permission all = view", "permission all = view & reader"},
		{"with few | document#writer", "| document#writer"},
		{"// Ascending counts.", "// Descending counts."},
		{"count < most", "count <= most"},
		{"most int) {\n\tcount < most", "most int, third int) {\n\tcount < most + third"},
		{"count int, most int", "count int, most uint"},
		{"caveat few", "caveat many(x int) {\n\tx > 1\n}\ncaveat few"},
		{annotated, "definition user {}\ndefinition document {\n\trelation writer: user\n\tpermission view = writer\n}\n"},
		{annotated, "caveat few(most int) {\n\t1 < most\n}\ndefinition document {\n\trelation reader: document with few\n}\n"},
	} {
		text := strings.ReplaceAll(annotated, change[0], change[1])
		resp, err := c.DiffSchema(t.Context(), &v1.DiffSchemaRequest{ComparisonSchema: text})
		if err != nil {
			// A parameter of a uint does not compare with an int.
			if !strings.Contains(change[1], "uint") {
				t.Errorf("%s: %v", change[1], err)
			}
			continue
		}
		if len(resp.Diffs) == 0 {
			t.Errorf("no difference after %q", change[1])
		}
		for _, d := range resp.Diffs {
			seen[reflect.TypeOf(d.Diff).Elem().Name()] = true
		}
	}
	c = withSchema(t, "caveat few(count int) {\n\tcount == count\n}\ndefinition user {}")
	resp, err := c.DiffSchema(t.Context(), &v1.DiffSchemaRequest{ComparisonSchema: "caveat few(count string) {\n\tcount == count\n}\ndefinition user {}"})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range resp.Diffs {
		seen[reflect.TypeOf(d.Diff).Elem().Name()] = true
		if p := d.GetCaveatParameterTypeChanged(); p != nil && (p.PreviousType != "int" || p.Parameter.Type != "string") {
			t.Errorf("%v", d)
		}
	}
	fields := (&v1.ReflectionSchemaDiff{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		name := "ReflectionSchemaDiff_"
		for _, part := range strings.Split(string(fields.Get(i).Name()), "_") {
			name += strings.ToUpper(part[:1]) + part[1:]
		}
		if !seen[name] {
			t.Errorf("no change came out as %s", name)
		}
	}
}
