package schema

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
)

// UnknownError says that a schema has no definition of a name, or that the
// definition has neither a relation nor a permission of a name.
type UnknownError struct {
	Definition string
	Member     string // empty where the definition itself is unknown
}

func (e *UnknownError) Error() string {
	if e.Member == "" {
		return fmt.Sprintf("the schema has no definition %q", e.Definition)
	}
	return fmt.Sprintf("definition %q has no relation or permission %q", e.Definition, e.Member)
}

// KindError says that a member of a definition is a permission where a relation
// is needed, or the other way around.
type KindError struct {
	Definition string
	Member     string
	Permission bool // what it is
}

func (e *KindError) Error() string {
	if e.Permission {
		return fmt.Sprintf("%s#%s is a permission, and relationships are written to relations", e.Definition, e.Member)
	}
	return fmt.Sprintf("%s#%s is a relation, not a permission", e.Definition, e.Member)
}

// SubjectTypeError says that a relation does not take a kind of subject.
type SubjectTypeError struct {
	Definition string
	Relation   string
	Type       AllowedType
}

func (e *SubjectTypeError) Error() string {
	return fmt.Sprintf("relation %s#%s takes no subject of type %q", e.Definition, e.Relation, e.Type)
}

// TypeOf is the kind of subject that a relationship has.
func TypeOf(r tuple.Relationship) AllowedType {
	return AllowedType{
		Type: r.Subject.Type, Relation: r.Subject.Relation, Wildcard: r.Subject.ID == tuple.Wildcard,
		Caveat: r.Caveat, Expiration: r.Expires != 0,
	}
}

// Allowed says why a relationship cannot be written to a relation, with a
// *SubjectTypeError. A caveat's context is not looked at.
func Allowed(rel *Relation, r tuple.Relationship) error {
	if t := TypeOf(r); !rel.Allows(t) {
		return &SubjectTypeError{Definition: r.Resource.Type, Relation: rel.Name, Type: t}
	}
	return nil
}

// Allowed says why a relationship does not fit the schema: with an *UnknownError
// if it names what the schema has not, with a *KindError if it is written to a
// permission, with a *SubjectTypeError if the relation takes no such subject. A
// caveat's context is not looked at.
func (s *Schema) Allowed(r tuple.Relationship) error {
	rel, err := s.relation(r.Resource.Type, r.Relation)
	if err != nil {
		return err
	}
	subject := s.Definition(r.Subject.Type)
	switch {
	case subject == nil:
		return &UnknownError{Definition: r.Subject.Type}
	case r.Subject.Relation != "" && !subject.Has(r.Subject.Relation):
		return &UnknownError{Definition: r.Subject.Type, Member: r.Subject.Relation}
	}
	return Allowed(rel, r)
}

// relation finds a relation, with an *UnknownError or a *KindError if there is
// none.
func (s *Schema) relation(definition, name string) (*Relation, error) {
	d := s.Definition(definition)
	if d == nil {
		return nil, &UnknownError{Definition: definition}
	}
	rel, p := d.Member(name)
	switch {
	case p != nil:
		return nil, &KindError{Definition: definition, Member: name, Permission: true}
	case rel == nil:
		return nil, &UnknownError{Definition: definition, Member: name}
	}
	return rel, nil
}
