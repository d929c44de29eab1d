package grpcapi

import (
	"context"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
)

// ExpandPermissionTree implements the service.
func (a *api) ExpandPermissionTree(ctx context.Context, req *v1.ExpandPermissionTreeRequest) (*v1.ExpandPermissionTreeResponse, error) {
	v, err := view(ctx, req.GetConsistency())
	if err != nil {
		return nil, err
	}
	if err := named(v, req.GetResource().GetObjectType(), req.GetPermission()); err != nil {
		return nil, err
	}
	t, err := engine.Expand(ctx, over(v), object(req.GetResource()), req.GetPermission(), engine.Options{})
	if err != nil {
		return nil, err
	}
	return &v1.ExpandPermissionTreeResponse{ExpandedAt: zedToken(v.Token), TreeRoot: toTree(t)}, nil
}

func toTree(t *engine.Tree) *v1.PermissionRelationshipTree {
	out := &v1.PermissionRelationshipTree{ExpandedObject: toObject(t.Object), ExpandedRelation: t.Name}
	set := &v1.AlgebraicSubjectSet{}
	switch t.Operation {
	case engine.Leaf:
		leaf := &v1.DirectSubjectSet{Subjects: make([]*v1.SubjectReference, len(t.Subjects))}
		for i, s := range t.Subjects {
			leaf.Subjects[i] = toSubject(s.Subject)
		}
		out.TreeType = &v1.PermissionRelationshipTree_Leaf{Leaf: leaf}
		return out
	case engine.Union:
		set.Operation = v1.AlgebraicSubjectSet_OPERATION_UNION
	case engine.Intersection:
		set.Operation = v1.AlgebraicSubjectSet_OPERATION_INTERSECTION
	case engine.Exclusion:
		set.Operation = v1.AlgebraicSubjectSet_OPERATION_EXCLUSION
	}
	for _, c := range t.Children {
		set.Children = append(set.Children, toTree(c))
	}
	out.TreeType = &v1.PermissionRelationshipTree_Intermediate{Intermediate: set}
	return out
}
