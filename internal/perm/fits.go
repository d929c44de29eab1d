package perm

import (
	"encoding/json"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
)

// Fits says why an update does not fit a schema, with the schema's errors, the
// caveat's, or ErrNoSchema. What is to be deleted only has to name a relation:
// it may have been written under another schema.
func Fits(sch *schema.Schema, u Update) error {
	if sch == nil {
		return ErrNoSchema
	}
	if u.Op == Delete {
		def := sch.Definition(u.Resource.Type)
		if def == nil {
			return &schema.UnknownError{Definition: u.Resource.Type}
		}
		switch rel, permission := def.Member(u.Relation); {
		case permission != nil:
			return &schema.KindError{Definition: u.Resource.Type, Member: u.Relation, Permission: true}
		case rel == nil:
			return &schema.UnknownError{Definition: u.Resource.Type, Member: u.Relation}
		}
		return nil
	}
	if err := sch.Allowed(u.Relationship); err != nil {
		return err
	}
	if u.Context == "" {
		return nil
	}
	var context map[string]any
	d := json.NewDecoder(strings.NewReader(u.Context))
	d.UseNumber()
	if err := d.Decode(&context); err != nil {
		return err
	}
	return sch.Caveat(u.Caveat).Program.Check(context)
}
