package grpcapi

import (
	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

func reflectDefinition(d *schema.Definition) *v1.ReflectionDefinition {
	out := &v1.ReflectionDefinition{Name: d.Name, Comment: d.Comment}
	for _, r := range d.Relations {
		out.Relations = append(out.Relations, reflectRelation(d.Name, r))
	}
	for _, p := range d.Permissions {
		out.Permissions = append(out.Permissions, reflectPermission(d.Name, p))
	}
	return out
}

func reflectRelation(definition string, r *schema.Relation) *v1.ReflectionRelation {
	out := &v1.ReflectionRelation{Name: r.Name, Comment: r.Comment, ParentDefinitionName: definition}
	for _, t := range r.Types {
		out.SubjectTypes = append(out.SubjectTypes, reflectType(t))
	}
	return out
}

func reflectType(t schema.AllowedType) *v1.ReflectionTypeReference {
	out := &v1.ReflectionTypeReference{SubjectDefinitionName: t.Type, OptionalCaveatName: t.Caveat}
	switch {
	case t.Wildcard:
		out.Typeref = &v1.ReflectionTypeReference_IsPublicWildcard{IsPublicWildcard: true}
	case t.Relation != "":
		out.Typeref = &v1.ReflectionTypeReference_OptionalRelationName{OptionalRelationName: t.Relation}
	default:
		out.Typeref = &v1.ReflectionTypeReference_IsTerminalSubject{IsTerminalSubject: true}
	}
	return out
}

func reflectPermission(definition string, p *schema.Permission) *v1.ReflectionPermission {
	return &v1.ReflectionPermission{Name: p.Name, Comment: p.Comment, ParentDefinitionName: definition}
}

func reflectCaveat(c *schema.Caveat) *v1.ReflectionCaveat {
	out := &v1.ReflectionCaveat{Name: c.Name, Comment: c.Comment, Expression: c.Expression}
	for _, p := range c.Parameters {
		out.Parameters = append(out.Parameters, reflectParameter(c.Name, p))
	}
	return out
}

func reflectParameter(caveat string, p schema.Parameter) *v1.ReflectionCaveatParameter {
	return &v1.ReflectionCaveatParameter{Name: p.Name, Type: p.Type, ParentCaveatName: caveat}
}

// reflectChange converts one difference between schemas.
func reflectChange(c schema.Change) *v1.ReflectionSchemaDiff {
	out := &v1.ReflectionSchemaDiff{}
	name := ""
	if c.Definition != nil {
		name = c.Definition.Name
	}
	subjectType := func() *v1.ReflectionRelationSubjectTypeChange {
		return &v1.ReflectionRelationSubjectTypeChange{
			Relation: reflectRelation(name, c.Relation), ChangedSubjectType: reflectType(c.Type),
		}
	}
	switch c.Kind {
	case schema.DefinitionAdded:
		out.Diff = &v1.ReflectionSchemaDiff_DefinitionAdded{DefinitionAdded: reflectDefinition(c.Definition)}
	case schema.DefinitionRemoved:
		out.Diff = &v1.ReflectionSchemaDiff_DefinitionRemoved{DefinitionRemoved: reflectDefinition(c.Definition)}
	case schema.DefinitionCommentChanged:
		out.Diff = &v1.ReflectionSchemaDiff_DefinitionDocCommentChanged{DefinitionDocCommentChanged: reflectDefinition(c.Definition)}
	case schema.RelationAdded:
		out.Diff = &v1.ReflectionSchemaDiff_RelationAdded{RelationAdded: reflectRelation(name, c.Relation)}
	case schema.RelationRemoved:
		out.Diff = &v1.ReflectionSchemaDiff_RelationRemoved{RelationRemoved: reflectRelation(name, c.Relation)}
	case schema.RelationCommentChanged:
		out.Diff = &v1.ReflectionSchemaDiff_RelationDocCommentChanged{RelationDocCommentChanged: reflectRelation(name, c.Relation)}
	case schema.SubjectTypeAdded:
		out.Diff = &v1.ReflectionSchemaDiff_RelationSubjectTypeAdded{RelationSubjectTypeAdded: subjectType()}
	case schema.SubjectTypeRemoved:
		out.Diff = &v1.ReflectionSchemaDiff_RelationSubjectTypeRemoved{RelationSubjectTypeRemoved: subjectType()}
	case schema.PermissionAdded:
		out.Diff = &v1.ReflectionSchemaDiff_PermissionAdded{PermissionAdded: reflectPermission(name, c.Permission)}
	case schema.PermissionRemoved:
		out.Diff = &v1.ReflectionSchemaDiff_PermissionRemoved{PermissionRemoved: reflectPermission(name, c.Permission)}
	case schema.PermissionCommentChanged:
		out.Diff = &v1.ReflectionSchemaDiff_PermissionDocCommentChanged{PermissionDocCommentChanged: reflectPermission(name, c.Permission)}
	case schema.PermissionExprChanged:
		out.Diff = &v1.ReflectionSchemaDiff_PermissionExprChanged{PermissionExprChanged: reflectPermission(name, c.Permission)}
	case schema.CaveatAdded:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatAdded{CaveatAdded: reflectCaveat(c.Caveat)}
	case schema.CaveatRemoved:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatRemoved{CaveatRemoved: reflectCaveat(c.Caveat)}
	case schema.CaveatCommentChanged:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatDocCommentChanged{CaveatDocCommentChanged: reflectCaveat(c.Caveat)}
	case schema.CaveatExprChanged:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatExprChanged{CaveatExprChanged: reflectCaveat(c.Caveat)}
	case schema.ParameterAdded:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatParameterAdded{CaveatParameterAdded: reflectParameter(c.Caveat.Name, c.Parameter)}
	case schema.ParameterRemoved:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatParameterRemoved{CaveatParameterRemoved: reflectParameter(c.Caveat.Name, c.Parameter)}
	case schema.ParameterTypeChanged:
		out.Diff = &v1.ReflectionSchemaDiff_CaveatParameterTypeChanged{
			CaveatParameterTypeChanged: &v1.ReflectionCaveatParameterTypeChange{
				Parameter: reflectParameter(c.Caveat.Name, c.Parameter), PreviousType: c.PreviousType,
			},
		}
	}
	return out
}
