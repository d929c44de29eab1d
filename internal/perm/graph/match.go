package graph

import (
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// Match reports whether the filter selects a relationship.
func (f *Filter) Match(r tuple.Relationship) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	if !is(f.ResourceType, r.Resource.Type) || !is(f.ResourceID, r.Resource.ID) || !is(f.Relation, r.Relation) ||
		!strings.HasPrefix(r.Resource.ID, f.ResourceIDPrefix) || f.Now != 0 && r.Expires != 0 && r.Expires <= f.Now {
		return false
	}
	s := f.Subject
	return s == nil || is(s.Type, r.Subject.Type) && is(s.ID, r.Subject.ID) && (s.Relation == nil || *s.Relation == r.Subject.Relation)
}
