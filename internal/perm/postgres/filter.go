package postgres

import (
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// where writes a filter as a condition over the columns of a relationship, with
// its values as parameters after args.
func where(f *graph.Filter, args []any) (string, []any) {
	var conds []string
	add := func(format string, value any) {
		args = append(args, value)
		conds = append(conds, fmt.Sprintf(format, len(args)))
	}
	if f.ResourceType != "" {
		add("resource_type = $%d", f.ResourceType)
	}
	if f.ResourceID != "" {
		add("resource_id = $%d", f.ResourceID)
	}
	if f.ResourceIDPrefix != "" {
		add("starts_with(resource_id, $%d)", f.ResourceIDPrefix)
	}
	if f.Relation != "" {
		add("relation = $%d", f.Relation)
	}
	if s := f.Subject; s != nil {
		if s.Type != "" {
			add("subject_type = $%d", s.Type)
		}
		if s.ID != "" {
			add("subject_id = $%d", s.ID)
		}
		if s.Relation != nil {
			add("subject_relation = $%d", *s.Relation)
		}
	}
	if len(conds) == 0 {
		return "true", args
	}
	return strings.Join(conds, " AND "), args
}

// orphans writes a condition for the relationships that rest on what a schema
// would take away; schema.Drop.Covers says the same of one.
func orphans(d schema.Drop) (string, []any) {
	switch d.Kind {
	case schema.DropDefinition:
		return "$1 IN (resource_type, subject_type)", []any{d.Type}
	case schema.DropRelation:
		return "resource_type = $1 AND relation = $2 OR subject_type = $1 AND subject_relation = $2", []any{d.Type, d.Relation}
	case schema.DropAllowed:
		return `resource_type = $1 AND relation = $2 AND subject_type = $3 AND subject_relation = $4
			AND (subject_id = '*') = $5 AND coalesce(caveat, '') = $6 AND (expires_at IS NOT NULL) = $7`,
			[]any{d.Type, d.Relation, d.Allowed.Type, d.Allowed.Relation, d.Allowed.Wildcard, d.Allowed.Caveat, d.Allowed.Expiration}
	}
	return "caveat = $1", []any{d.Caveat}
}
