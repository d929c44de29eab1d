package grpcapi

import (
	"context"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// maxSchema bounds a schema's text, in bytes.
const maxSchema = 4 << 20

// ReadSchema implements the service.
func (a *api) ReadSchema(ctx context.Context, _ *v1.ReadSchemaRequest) (*v1.ReadSchemaResponse, error) {
	v, err := schemaView(ctx, &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}})
	if err != nil {
		return nil, err
	}
	return &v1.ReadSchemaResponse{SchemaText: v.Schema.Text(), ReadAt: zedToken(v.Token)}, nil
}

// WriteSchema implements the service.
func (a *api) WriteSchema(ctx context.Context, req *v1.WriteSchemaRequest) (*v1.WriteSchemaResponse, error) {
	if n := len(req.GetSchema()); n > maxSchema {
		return nil, status.Errorf(codes.InvalidArgument, "the schema has %d bytes; %d are the most", n, maxSchema)
	}
	token, err := backend(ctx).WriteSchema(ctx, req.GetSchema())
	if err != nil {
		return nil, err
	}
	return &v1.WriteSchemaResponse{WrittenAt: zedToken(token)}, nil
}

// schemaView returns a view that has a schema.
func schemaView(ctx context.Context, c *v1.Consistency) (perm.View, error) {
	v, err := view(ctx, c)
	if err == nil && v.Schema == nil {
		err = perm.ErrNoSchema
	}
	return v, err
}

// ReflectSchema implements the service.
func (a *api) ReflectSchema(ctx context.Context, req *v1.ReflectSchemaRequest) (*v1.ReflectSchemaResponse, error) {
	v, err := schemaView(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	var filters []schema.Filter
	for _, f := range req.GetOptionalFilters() {
		filters = append(filters, schema.Filter{
			Definition: f.GetOptionalDefinitionNameFilter(), Caveat: f.GetOptionalCaveatNameFilter(),
			Relation: f.GetOptionalRelationNameFilter(), Permission: f.GetOptionalPermissionNameFilter(),
		})
	}
	definitions, caveats, err := v.Schema.Reflect(filters)
	if err != nil {
		return nil, reasonInvalidFilter(err)
	}
	out := &v1.ReflectSchemaResponse{ReadAt: zedToken(v.Token)}
	for _, d := range definitions {
		out.Definitions = append(out.Definitions, reflectDefinition(d))
	}
	for _, c := range caveats {
		out.Caveats = append(out.Caveats, reflectCaveat(c))
	}
	return out, nil
}

func reasonInvalidFilter(err error) error {
	return reason(codes.InvalidArgument, v1.ErrorReason_ERROR_REASON_INVALID_FILTER, err.Error(), "filter", err.Error())
}

// ComputablePermissions implements the service.
func (a *api) ComputablePermissions(ctx context.Context, req *v1.ComputablePermissionsRequest) (*v1.ComputablePermissionsResponse, error) {
	v, err := schemaView(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	if v.Schema.Definition(req.GetDefinitionName()) == nil {
		err := &schema.UnknownError{Definition: req.GetDefinitionName()}
		return nil, reason(codes.FailedPrecondition, v1.ErrorReason_ERROR_REASON_SCHEMA_TYPE_ERROR, err.Error(),
			"definition_name", req.GetDefinitionName())
	}
	member := req.GetRelationName()
	if member == "..." {
		member = ""
	}
	refs, err := v.Schema.ComputablePermissions(req.GetDefinitionName(), member, req.GetOptionalDefinitionNameFilter())
	if err != nil {
		return nil, err
	}
	return &v1.ComputablePermissionsResponse{Permissions: references(refs), ReadAt: zedToken(v.Token)}, nil
}

// DependentRelations implements the service.
func (a *api) DependentRelations(ctx context.Context, req *v1.DependentRelationsRequest) (*v1.DependentRelationsResponse, error) {
	v, err := schemaView(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	refs, err := v.Schema.DependentRelations(req.GetDefinitionName(), req.GetPermissionName())
	if err != nil {
		return nil, err
	}
	return &v1.DependentRelationsResponse{Relations: references(refs), ReadAt: zedToken(v.Token)}, nil
}

func references(refs []schema.Reference) []*v1.ReflectionRelationReference {
	var out []*v1.ReflectionRelationReference
	for _, r := range refs {
		out = append(out, &v1.ReflectionRelationReference{DefinitionName: r.Type, RelationName: r.Relation, IsPermission: r.Permission})
	}
	return out
}

// DiffSchema implements the service.
func (a *api) DiffSchema(ctx context.Context, req *v1.DiffSchemaRequest) (*v1.DiffSchemaResponse, error) {
	v, err := schemaView(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	next, err := schema.Parse(req.GetComparisonSchema())
	if err != nil {
		return nil, err
	}
	out := &v1.DiffSchemaResponse{ReadAt: zedToken(v.Token)}
	for _, c := range schema.Diff(v.Schema, next) {
		out.Diffs = append(out.Diffs, reflectChange(c))
	}
	return out, nil
}
