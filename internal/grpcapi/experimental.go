package grpcapi

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/tidemarkdb/tidemark/internal/perm"
)

// The older names of several calls have messages of their own that look the same
// on the wire.

// again writes a message as one that looks the same.
func again[T vtMessage](from vtMessage, to T) (T, error) {
	b := make([]byte, from.SizeVT())
	_, err := from.MarshalToSizedBufferVT(b)
	if err == nil {
		err = to.UnmarshalVT(b)
	}
	if err != nil {
		return to, fmt.Errorf("convert %T: %w", from, err)
	}
	return to, nil
}

// ExperimentalReflectSchema implements the older name of ReflectSchema.
func (a *api) ExperimentalReflectSchema(ctx context.Context, req *v1.ExperimentalReflectSchemaRequest) (*v1.ExperimentalReflectSchemaResponse, error) {
	in, err := again(req, &v1.ReflectSchemaRequest{})
	if err != nil {
		return nil, err
	}
	out, err := a.ReflectSchema(ctx, in)
	if err != nil {
		return nil, err
	}
	return again(out, &v1.ExperimentalReflectSchemaResponse{})
}

// ExperimentalComputablePermissions implements the older name of
// ComputablePermissions.
func (a *api) ExperimentalComputablePermissions(ctx context.Context, req *v1.ExperimentalComputablePermissionsRequest) (*v1.ExperimentalComputablePermissionsResponse, error) {
	in, err := again(req, &v1.ComputablePermissionsRequest{})
	if err != nil {
		return nil, err
	}
	out, err := a.ComputablePermissions(ctx, in)
	if err != nil {
		return nil, err
	}
	return again(out, &v1.ExperimentalComputablePermissionsResponse{})
}

// ExperimentalDependentRelations implements the older name of
// DependentRelations.
func (a *api) ExperimentalDependentRelations(ctx context.Context, req *v1.ExperimentalDependentRelationsRequest) (*v1.ExperimentalDependentRelationsResponse, error) {
	in, err := again(req, &v1.DependentRelationsRequest{})
	if err != nil {
		return nil, err
	}
	out, err := a.DependentRelations(ctx, in)
	if err != nil {
		return nil, err
	}
	return again(out, &v1.ExperimentalDependentRelationsResponse{})
}

// ExperimentalDiffSchema implements the older name of DiffSchema.
func (a *api) ExperimentalDiffSchema(ctx context.Context, req *v1.ExperimentalDiffSchemaRequest) (*v1.ExperimentalDiffSchemaResponse, error) {
	in, err := again(req, &v1.DiffSchemaRequest{})
	if err != nil {
		return nil, err
	}
	out, err := a.DiffSchema(ctx, in)
	if err != nil {
		return nil, err
	}
	return again(out, &v1.ExperimentalDiffSchemaResponse{})
}

// BulkCheckPermission implements the older name of CheckBulkPermissions.
func (a *api) BulkCheckPermission(ctx context.Context, req *v1.BulkCheckPermissionRequest) (*v1.BulkCheckPermissionResponse, error) {
	in, err := again(req, &v1.CheckBulkPermissionsRequest{})
	if err != nil {
		return nil, err
	}
	out, err := a.CheckBulkPermissions(ctx, in)
	if err != nil {
		return nil, err
	}
	return again(out, &v1.BulkCheckPermissionResponse{})
}

// ExperimentalRegisterRelationshipCounter implements the service.
func (a *api) ExperimentalRegisterRelationshipCounter(ctx context.Context, req *v1.ExperimentalRegisterRelationshipCounterRequest) (*v1.ExperimentalRegisterRelationshipCounterResponse, error) {
	f, err := needFilter(req.GetRelationshipFilter())
	if err != nil {
		return nil, err
	}
	if err := knownFilter(ctx, f); err != nil {
		return nil, err
	}
	if err := backend(ctx).SetCounter(ctx, req.GetName(), &f); err != nil {
		return nil, err
	}
	return &v1.ExperimentalRegisterRelationshipCounterResponse{}, nil
}

// ExperimentalUnregisterRelationshipCounter implements the service.
func (a *api) ExperimentalUnregisterRelationshipCounter(ctx context.Context, req *v1.ExperimentalUnregisterRelationshipCounterRequest) (*v1.ExperimentalUnregisterRelationshipCounterResponse, error) {
	if err := backend(ctx).SetCounter(ctx, req.GetName(), nil); err != nil {
		return nil, err
	}
	return &v1.ExperimentalUnregisterRelationshipCounterResponse{}, nil
}

// ExperimentalCountRelationships implements the service.
func (a *api) ExperimentalCountRelationships(ctx context.Context, req *v1.ExperimentalCountRelationshipsRequest) (*v1.ExperimentalCountRelationshipsResponse, error) {
	v, err := view(ctx, &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}})
	if err != nil {
		return nil, err
	}
	f, ok := v.Counters[req.GetName()]
	if !ok {
		return nil, perm.ErrNoCounter
	}
	f.Now = time.Now().UnixMicro()
	return &v1.ExperimentalCountRelationshipsResponse{
		CounterResult: &v1.ExperimentalCountRelationshipsResponse_ReadCounterValue{
			ReadCounterValue: &v1.ReadCounterValue{
				RelationshipCount: uint64(v.Graph.Count(f)), ReadAt: zedToken(v.Token),
			},
		},
	}, nil
}
