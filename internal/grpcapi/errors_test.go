package grpcapi_test

import (
	"fmt"
	"strings"
	"testing"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

const documents = `use expiration

caveat office_hours(tz string, hour int) {
	hour < 18 && tz != ""
}

definition user {}

definition group {
	relation member: user | user:*
}

definition document {
	relation owner: user
	relation reader: user | user:* | group#member | user with office_hours | user with expiration
	relation banned: user
	permission view = reader + owner - banned
	permission edit = owner
}
`

// TestErrors goes through the errors that clients tell apart.
func TestErrors(t *testing.T) {
	c := withSchema(t, documents, "document:plan#reader@user:ana")
	ctx := t.Context()
	check := func(text string) error {
		_, err := c.CheckPermission(ctx, question(t, text))
		return err
	}
	write := func(op v1.RelationshipUpdate_Operation, rels ...string) error {
		_, err := c.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{Updates: updates(t, op, rels...)})
		return err
	}
	ids := func(n int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("document:d%d#reader@user:ana", i))
		}
		return out
	}
	schema := func(text string) error {
		_, err := c.WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: text})
		return err
	}
	read := func(f *v1.RelationshipFilter) error {
		_, err := all(c.ReadRelationships(ctx, &v1.ReadRelationshipsRequest{RelationshipFilter: f}))
		return err
	}
	lookup := func(change func(*v1.LookupResourcesRequest)) error {
		req := resources("document", "view", "user:ana")
		change(req)
		_, err := all(c.LookupResources(ctx, req))
		return err
	}
	subjects := func(change func(*v1.LookupSubjectsRequest)) error {
		req := subjectsOf("document:plan", "view", "user")
		change(req)
		_, err := all(c.LookupSubjects(ctx, req))
		return err
	}
	precondition := func(op v1.Precondition_Operation, f *v1.RelationshipFilter) error {
		_, err := c.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{
			Updates:               updates(t, touch, "document:plan#owner@user:ben"),
			OptionalPreconditions: []*v1.Precondition{{Operation: op, Filter: f}},
		})
		return err
	}
	remove1 := func(req *v1.DeleteRelationshipsRequest) error {
		_, err := c.DeleteRelationships(ctx, req)
		return err
	}
	const (
		unknownDefinition = v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION
		unknownMember     = v1.ErrorReason_ERROR_REASON_UNKNOWN_RELATION_OR_PERMISSION
		subjectType       = v1.ErrorReason_ERROR_REASON_INVALID_SUBJECT_TYPE
		typeError         = v1.ErrorReason_ERROR_REASON_SCHEMA_TYPE_ERROR
		badFilter         = v1.ErrorReason_ERROR_REASON_INVALID_FILTER
		preconditionFails = v1.ErrorReason_ERROR_REASON_WRITE_OR_DELETE_PRECONDITION_FAILURE
		tooLarge          = v1.ErrorReason_ERROR_REASON_EXCEEDS_MAXIMUM_ALLOWABLE_LIMIT
		wildcard          = v1.ErrorReason_ERROR_REASON_WILDCARD_NOT_ALLOWED
		unspecified       = v1.ErrorReason_ERROR_REASON_UNSPECIFIED
	)
	long := strings.Repeat("x", 1024)
	for _, tt := range []struct {
		name   string
		err    error
		code   codes.Code
		reason v1.ErrorReason
		keys   string
	}{
		{"check, unknown definition", check("nothing:plan#view@user:ana"), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"check, unknown subject definition", check("document:plan#view@nothing:ana"), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"check, unknown permission", check("document:plan#nothing@user:ana"), codes.FailedPrecondition, unknownMember, "definition_name relation_or_permission_name"},
		{"check, unknown subject relation", check("document:plan#view@group:eng#nothing"), codes.FailedPrecondition, unknownMember, "definition_name relation_or_permission_name"},
		{"check, empty permission", func() error {
			req := question(t, "document:plan#view@user:ana")
			req.Permission = ""
			_, err := c.CheckPermission(ctx, req)
			return err
		}(), codes.FailedPrecondition, unknownMember, "definition_name relation_or_permission_name"},
		{"check, missing object", check("document:missing#view@user:missing"), codes.OK, noReason, ""},
		{"check, wildcard subject", check("document:plan#view@user:*"), codes.InvalidArgument, wildcard, "field"},
		{"check, longest id", check("document:" + long + "#view@user:ana"), codes.OK, noReason, ""},
		{"check, context too large", func() error {
			req := question(t, "document:plan#view@user:ana")
			req.Context = structOf(t, `{"tz":"`+strings.Repeat("x", 4096)+`"}`)
			_, err := c.CheckPermission(ctx, req)
			return err
		}(), codes.InvalidArgument, noReason, ""},
		{"write, permission", write(touch, "document:plan#view@user:ana"), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CANNOT_UPDATE_PERMISSION, "definition_name permission_name"},
		{"write, unknown definition", write(touch, "nothing:plan#view@user:ana"), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"write, unknown relation", write(touch, "document:plan#nothing@user:ana"), codes.FailedPrecondition, unknownMember, "definition_name relation_or_permission_name"},
		{"write, subject type", write(touch, "document:plan#owner@group:eng#member"), codes.InvalidArgument, subjectType, "definition_name relation_name subject_type"},
		{"write, wildcard", write(touch, "document:plan#owner@user:*"), codes.InvalidArgument, subjectType, "definition_name relation_name subject_type"},
		{"write, unknown caveat", write(touch, "document:plan#reader@user:ana[nothing]"), codes.InvalidArgument, subjectType, "definition_name relation_name subject_type"},
		{"write, bad caveat context", write(touch, `document:plan#reader@user:ana[office_hours:{"tz":1}]`), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CAVEAT_PARAMETER_TYPE_ERROR, "caveat_name parameter_name"},
		{"write, unknown parameter", write(touch, `document:plan#reader@user:ana[office_hours:{"zone":1}]`), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_CAVEAT_PARAMETER_TYPE_ERROR, "caveat_name parameter_name"},
		{"write, caveat context too large", write(touch, `document:plan#reader@user:ana[office_hours:{"tz":"`+strings.Repeat("x", 25_000)+`"}]`), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_MAX_RELATIONSHIP_CONTEXT_SIZE, "relationship max_allowed_size context_size"},
		{"write, same twice", write(touch, "document:plan#reader@user:ana", "document:plan#reader@user:ana[expiration:2099-01-01T00:00:00Z]"), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_UPDATES_ON_SAME_RELATIONSHIP, "definition_name relationship"},
		{"write, create again", write(create, "document:plan#reader@user:ana"), codes.AlreadyExists, v1.ErrorReason_ERROR_REASON_ATTEMPT_TO_RECREATE_RELATIONSHIP, "relationship resource_type resource_object_id resource_relation subject_type subject_object_id subject_relation"},
		{"write, delete missing", write(remove, "document:missing#reader@user:ana"), codes.OK, noReason, ""},
		{"write, nothing", write(touch), codes.OK, noReason, ""},
		{"write, 1,001", write(touch, ids(1001)...), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TOO_MANY_UPDATES_IN_REQUEST, "update_count maximum_updates_allowed"},
		{"write, 1,000", write(touch, ids(1000)...), codes.OK, noReason, ""},
		{"write, metadata too large", func() error {
			_, err := c.WriteRelationships(ctx, &v1.WriteRelationshipsRequest{OptionalTransactionMetadata: structOf(t, `{"x":"`+strings.Repeat("x", 65_000)+`"}`)})
			return err
		}(), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TRANSACTION_METADATA_TOO_LARGE, "metadata_byte_size maximum_allowed_metadata_byte_size"},
		{
			"precondition, must match", precondition(v1.Precondition_OPERATION_MUST_MATCH, &v1.RelationshipFilter{ResourceType: "document", OptionalResourceId: "nothing"}),
			codes.FailedPrecondition, preconditionFails, "precondition_operation precondition_resource_type precondition_resource_id precondition_resource_id_prefix precondition_relation",
		},
		{
			"precondition, must not match", precondition(v1.Precondition_OPERATION_MUST_NOT_MATCH, &v1.RelationshipFilter{ResourceType: "document", OptionalSubjectFilter: &v1.SubjectFilter{SubjectType: "user", OptionalSubjectId: "ana"}}),
			codes.FailedPrecondition, preconditionFails, "precondition_operation precondition_resource_type precondition_resource_id precondition_resource_id_prefix precondition_relation precondition_subject_type precondition_subject_id",
		},
		{"precondition, empty filter", precondition(v1.Precondition_OPERATION_MUST_MATCH, &v1.RelationshipFilter{}), codes.InvalidArgument, badFilter, "filter"},
		{"precondition, 1,001", func() error {
			req := &v1.WriteRelationshipsRequest{}
			for range 1001 {
				req.OptionalPreconditions = append(req.OptionalPreconditions, &v1.Precondition{Operation: v1.Precondition_OPERATION_MUST_MATCH, Filter: &v1.RelationshipFilter{ResourceType: "document"}})
			}
			_, err := c.WriteRelationships(ctx, req)
			return err
		}(), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TOO_MANY_PRECONDITIONS_IN_REQUEST, "precondition_count maximum_updates_allowed"},
		{"schema, syntax", schema("definition user {}\ndefinition document [\n"), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_SCHEMA_PARSE_ERROR, "start_line_number start_column_position end_line_number end_column_position source_code"},
		{"schema, import", schema("use import\nimport \"x.zed\"\ndefinition user {}"), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_SCHEMA_PARSE_ERROR, "start_line_number start_column_position end_line_number end_column_position source_code"},
		{"schema, unknown type", schema("definition document {\n\trelation owner: nothing\n}"), codes.FailedPrecondition, typeError, "definition_name"},
		{"schema, unknown relation", schema("definition document {\n\tpermission view = nothing\n}"), codes.FailedPrecondition, typeError, "definition_name"},
		{"schema, unknown caveat", schema("definition user {}\ndefinition document {\n\trelation owner: user with nothing\n}"), codes.FailedPrecondition, typeError, "definition_name"},
		{"schema, relation twice", schema("definition user {}\ndefinition document {\n\trelation owner: user\n\trelation owner: user\n}"), codes.FailedPrecondition, typeError, "definition_name"},
		{"schema, expiration without its flag", schema("definition user {}\ndefinition document {\n\trelation owner: user with expiration\n}"), codes.FailedPrecondition, typeError, "definition_name"},
		{"schema, drops what has data", schema("definition user {}"), codes.InvalidArgument, typeError, "operation relationship resource_type"},
		{"filter, empty", read(&v1.RelationshipFilter{}), codes.InvalidArgument, badFilter, "filter"},
		{"filter, id and prefix", read(&v1.RelationshipFilter{OptionalResourceId: "plan", OptionalResourceIdPrefix: "p"}), codes.InvalidArgument, badFilter, "filter"},
		{"filter, unknown definition", read(&v1.RelationshipFilter{ResourceType: "nothing"}), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"filter, unknown relation", read(&v1.RelationshipFilter{ResourceType: "document", OptionalRelation: "nothing"}), codes.FailedPrecondition, unknownMember, "definition_name relation_or_permission_name"},
		{"delete, empty filter", remove1(&v1.DeleteRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{}}), codes.InvalidArgument, badFilter, "filter"},
		{"delete, unknown definition", remove1(&v1.DeleteRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{ResourceType: "nothing"}}), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"delete, over its limit", remove1(&v1.DeleteRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document"}, OptionalLimit: 1}), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_TOO_MANY_RELATIONSHIPS_FOR_TRANSACTIONAL_DELETE, ""},
		{"delete, limit of 1,001", remove1(&v1.DeleteRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document"}, OptionalLimit: 1001}), codes.InvalidArgument, tooLarge, "limit_provided maximum_limit_allowed"},
		{"lookup, limit of 1,001", lookup(func(r *v1.LookupResourcesRequest) { r.OptionalLimit = 1001 }), codes.InvalidArgument, tooLarge, "limit_provided maximum_limit_allowed"},
		{"lookup, limit of 1,000", lookup(func(r *v1.LookupResourcesRequest) { r.OptionalLimit = 1000 }), codes.OK, noReason, ""},
		{"lookup, garbage as cursor", lookup(func(r *v1.LookupResourcesRequest) { r.OptionalCursor = &v1.Cursor{Token: "garbage"} }), codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_CURSOR, ""},
		{"lookup, unknown definition", lookup(func(r *v1.LookupResourcesRequest) { r.ResourceObjectType = "nothing" }), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"lookup, unknown permission", lookup(func(r *v1.LookupResourcesRequest) { r.Permission = "nothing" }), codes.FailedPrecondition, unknownMember, "definition_name relation_or_permission_name"},
		{"lookup, wildcard subject", lookup(func(r *v1.LookupResourcesRequest) { r.Subject.Object.ObjectId = "*" }), codes.InvalidArgument, wildcard, "field"},
		{"subjects, concrete limit", subjects(func(r *v1.LookupSubjectsRequest) { r.OptionalConcreteLimit = 1 }), codes.Unimplemented, noReason, ""},
		{"subjects, unknown definition", subjects(func(r *v1.LookupSubjectsRequest) { r.SubjectObjectType = "nothing" }), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"subjects, wildcard resource", subjects(func(r *v1.LookupSubjectsRequest) { r.Resource.ObjectId = "*" }), codes.InvalidArgument, wildcard, "field"},
		{"read, limit of 1,001", func() error {
			_, err := all(c.ReadRelationships(ctx, &v1.ReadRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document"}, OptionalLimit: 1001}))
			return err
		}(), codes.InvalidArgument, tooLarge, "limit_provided maximum_limit_allowed"},
		{"export, limit of 10,001", func() error {
			_, err := all(c.ExportBulkRelationships(ctx, &v1.ExportBulkRelationshipsRequest{OptionalLimit: 10_001}))
			return err
		}(), codes.InvalidArgument, tooLarge, "limit_provided maximum_limit_allowed"},
		{"export, filter on an unknown definition", func() error {
			_, err := all(c.ExportBulkRelationships(ctx, &v1.ExportBulkRelationshipsRequest{OptionalRelationshipFilter: &v1.RelationshipFilter{ResourceType: "nothing"}}))
			return err
		}(), codes.OK, noReason, ""},
		{"bulk, 10,001 items", func() error {
			req := &v1.CheckBulkPermissionsRequest{}
			q := question(t, "document:plan#view@user:ana")
			for range 10_001 {
				req.Items = append(req.Items, &v1.CheckBulkPermissionsRequestItem{Resource: q.Resource, Permission: q.Permission, Subject: q.Subject})
			}
			_, err := c.CheckBulkPermissions(ctx, req)
			return err
		}(), codes.InvalidArgument, unspecified, "check_count maximum_checks_allowed"},
		{"bulk, no items", func() error {
			_, err := c.CheckBulkPermissions(ctx, &v1.CheckBulkPermissionsRequest{})
			return err
		}(), codes.OK, noReason, ""},
		{"expand, unknown definition", func() error {
			_, err := c.ExpandPermissionTree(ctx, &v1.ExpandPermissionTreeRequest{Resource: rel(t, "nothing:plan#view@user:ana").Resource, Permission: "view"})
			return err
		}(), codes.FailedPrecondition, unknownDefinition, "definition_name"},
		{"computable, unknown definition", func() error {
			_, err := c.ComputablePermissions(ctx, &v1.ComputablePermissionsRequest{DefinitionName: "nothing", RelationName: "view"})
			return err
		}(), codes.FailedPrecondition, typeError, "definition_name"},
		{"dependent, relation", func() error {
			_, err := c.DependentRelations(ctx, &v1.DependentRelationsRequest{DefinitionName: "document", PermissionName: "reader"})
			return err
		}(), codes.InvalidArgument, unknownMember, "definition_name relationName"},
		{"counter, unknown", func() error {
			_, err := c.ExperimentalCountRelationships(ctx, &v1.ExperimentalCountRelationshipsRequest{Name: "nothing"})
			return err
		}(), codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_COUNTER_NOT_REGISTERED, ""},
		{"counter, unregister unknown", func() error {
			_, err := c.ExperimentalUnregisterRelationshipCounter(ctx, &v1.ExperimentalUnregisterRelationshipCounterRequest{Name: "nothing"})
			return err
		}(), codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_COUNTER_NOT_REGISTERED, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, tt.err, tt.code, tt.reason, strings.Fields(tt.keys)...)
			if status.Code(tt.err) == codes.OK {
				return
			}
			if m := status.Convert(tt.err).Message(); m == "" || strings.HasPrefix(m, "rpc error") || len(m) > 2000 {
				t.Errorf("the text %.200q", m)
			}
		})
	}
}

// TestMalformed sends what breaks the rules of the messages' definitions.
func TestMalformed(t *testing.T) {
	c := withSchema(t, documents)
	for _, q := range []*v1.CheckPermissionRequest{
		{},
		{Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: "a b"}, Permission: "view", Subject: question(t, "document:plan#view@user:ana").Subject},
		{Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: strings.Repeat("x", 1025)}, Permission: "view", Subject: question(t, "document:plan#view@user:ana").Subject},
		{Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: ""}, Permission: "view", Subject: question(t, "document:plan#view@user:ana").Subject},
		{Resource: &v1.ObjectReference{ObjectType: "Document", ObjectId: "plan"}, Permission: "view", Subject: question(t, "document:plan#view@user:ana").Subject},
		{Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: "plan"}, Permission: "View", Subject: question(t, "document:plan#view@user:ana").Subject},
		{Resource: &v1.ObjectReference{ObjectType: "document", ObjectId: "plan"}, Permission: "view"},
	} {
		_, err := c.CheckPermission(t.Context(), q)
		refused(t, err, codes.InvalidArgument, noReason)
		found := false
		for _, d := range status.Convert(err).Details() {
			if strings.HasSuffix(fmt.Sprintf("%T", d), ".Violations") {
				found = true
			}
		}
		if !found {
			t.Errorf("%v has no Violations: %v", err, status.Convert(err).Details())
		}
	}
	for _, lookup := range []*v1.LookupResourcesRequest{
		resources("document", "", "user:ana"), resources("document", "view", "user:a b"), resources("", "view", "user:ana"),
	} {
		_, err := all(c.LookupResources(t.Context(), lookup))
		refused(t, err, codes.InvalidArgument, noReason)
	}
	wildcard := question(t, "document:plan#view@user:ana")
	wildcard.Resource.ObjectId = "*"
	_, err := c.CheckPermission(t.Context(), wildcard)
	refused(t, err, codes.InvalidArgument, noReason)
	_, err = c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{{Operation: touch}}})
	refused(t, err, codes.InvalidArgument, noReason)
	_, err = c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: []*v1.RelationshipUpdate{{Relationship: rel(t, "document:plan#reader@user:ana")}}})
	refused(t, err, codes.InvalidArgument, noReason)
}

// TestBulkErrors: an item that cannot be answered does not spoil the others, and
// the order is that of the items.
func TestBulkErrors(t *testing.T) {
	c := withSchema(t, documents, "document:plan#reader@user:ana")
	req := &v1.CheckBulkPermissionsRequest{Consistency: full()}
	texts := []string{
		"document:plan#view@user:ana", "document:plan#nothing@user:ana", "document:plan#view@user:ben", "nothing:plan#view@user:ana",
		"document:plan#view@user:*", "document:plan#reader@user:ana",
	}
	for i, text := range texts {
		q := question(t, text)
		item := &v1.CheckBulkPermissionsRequestItem{Resource: q.Resource, Permission: q.Permission, Subject: q.Subject}
		if i == 2 {
			item.Context = &structpb.Struct{Fields: map[string]*structpb.Value{"tz": structpb.NewStringValue("UTC")}}
		}
		req.Items = append(req.Items, item)
	}
	resp, err := c.CheckBulkPermissions(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.Pairs) != len(texts) || resp.CheckedAt.GetToken() == "" {
		t.Fatalf("%d pairs at %v", len(resp.Pairs), resp.CheckedAt)
	}
	has, hasNot := v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, v1.CheckPermissionResponse_PERMISSIONSHIP_NO_PERMISSION
	for i, want := range []any{
		has, v1.ErrorReason_ERROR_REASON_UNKNOWN_RELATION_OR_PERMISSION, hasNot, v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION,
		v1.ErrorReason_ERROR_REASON_WILDCARD_NOT_ALLOWED, has,
	} {
		p := resp.Pairs[i]
		if p.Request.Resource.ObjectType+":"+p.Request.Resource.ObjectId+"#"+p.Request.Permission+"@"+p.Request.Subject.Object.ObjectType+":"+p.Request.Subject.Object.ObjectId != texts[i] {
			t.Errorf("pair %d is of %v, not of %s", i, p.Request, texts[i])
		}
		switch want := want.(type) {
		case v1.CheckPermissionResponse_Permissionship:
			if p.GetItem().GetPermissionship() != want {
				t.Errorf("%s: %v", texts[i], p.Response)
			}
		case v1.ErrorReason:
			err := status.FromProto(p.GetError()).Err()
			switch want {
			case v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION:
				refused(t, err, codes.FailedPrecondition, want, "definition_name")
			case v1.ErrorReason_ERROR_REASON_WILDCARD_NOT_ALLOWED:
				refused(t, err, codes.InvalidArgument, want, "field")
			default:
				refused(t, err, codes.FailedPrecondition, want, "definition_name", "relation_or_permission_name")
			}
		}
	}
}

// TestBulkContexts: every item is answered with its own context, and with that
// alone, as it is by itself.
func TestBulkContexts(t *testing.T) {
	c := withSchema(t, documents, "document:plan#reader@user:ana[office_hours]", `document:memo#reader@user:ana[office_hours:{"hour":9}]`)
	contexts := []string{
		"", `{"hour":9,"tz":"UTC"}`, `{"hour":9,"tz":"UTC"}`, `{"hour":20,"tz":"UTC"}`, `{"tz":"UTC"}`, "", `{"hour":9,"tz":"UTC"}`,
		`{"hour":"late","tz":"UTC"}`, `{"tz":"` + strings.Repeat("x", 5000) + `"}`, `{"tz":"` + strings.Repeat("x", 5000) + `"}`,
		`{"unknown":1,"tz":"UTC"}`, `{"hour":9,"tz":""}`,
	}
	req := &v1.CheckBulkPermissionsRequest{Consistency: full()}
	for _, id := range []string{"plan", "memo"} {
		for _, context := range contexts {
			q := question(t, "document:"+id+"#view@user:ana")
			req.Items = append(req.Items, &v1.CheckBulkPermissionsRequestItem{
				Resource: q.Resource, Permission: q.Permission, Subject: q.Subject, Context: structOf(t, context),
			})
		}
	}
	resp, err := c.CheckBulkPermissions(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i, item := range req.Items {
		alone := ""
		one, err := c.CheckPermission(t.Context(), &v1.CheckPermissionRequest{
			Consistency: full(), Resource: item.Resource, Permission: item.Permission, Subject: item.Subject, Context: item.Context,
		})
		if err != nil {
			alone = status.Convert(err).String()
		} else {
			alone = checkText(one.Permissionship, one.PartialCaveatInfo)
		}
		bulk := ""
		if e := resp.Pairs[i].GetError(); e != nil {
			bulk = status.FromProto(e).String()
		} else {
			bulk = checkText(resp.Pairs[i].GetItem().Permissionship, resp.Pairs[i].GetItem().PartialCaveatInfo)
		}
		if alone != bulk {
			t.Errorf("item %d, context %.60s: %s alone, %s in bulk", i, contexts[i%len(contexts)], alone, bulk)
		}
		seen[alone] = true
	}
	if len(seen) < 6 {
		t.Errorf("only these answers were seen: %v", seen)
	}
}

// TestNoSchema asks a server that has none.
func TestNoSchema(t *testing.T) {
	c := fresh(t)
	_, err := c.ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	refused(t, err, codes.NotFound, noReason)
	_, err = c.CheckPermission(t.Context(), question(t, "document:plan#view@user:ana"))
	refused(t, err, codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION, "definition_name")
	_, err = c.WriteRelationships(t.Context(), &v1.WriteRelationshipsRequest{Updates: updates(t, touch, "document:plan#reader@user:ana")})
	if c := status.Code(err); c != codes.FailedPrecondition && c != codes.NotFound {
		t.Errorf("a write: %v", err)
	}
	_, err = all(c.ReadRelationships(t.Context(), &v1.ReadRelationshipsRequest{RelationshipFilter: &v1.RelationshipFilter{ResourceType: "document"}}))
	refused(t, err, codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_UNKNOWN_DEFINITION, "definition_name")
	if got, err := all(c.ExportBulkRelationships(t.Context(), &v1.ExportBulkRelationshipsRequest{})); err != nil || len(got) > 0 {
		t.Errorf("an export: %v, %v", got, err)
	}
}
