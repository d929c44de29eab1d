// Package schema is the schema language of permissions: it reads a schema's
// text, checks that its parts fit together, writes it again in one form, and
// says what two schemas differ in and what rests on what.
//
// The language is SpiceDB's. Parse is the only source of a Schema, which is
// immutable from then on and may be shared. What a Schema holds is what was
// meant, not what was typed: partials are expanded, parameters are sorted, flags
// that nothing needs are gone, comments have one form. So Parse(s.Text()) gives s
// again, but for the order of definitions. The package is pure.
package schema

import (
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/perm/caveat"
)

// The flags of `use`.
const (
	useExpiration   = "expiration"
	useTypechecking = "typechecking"
	useSelf         = "self"
	usePartial      = "partial"
	useImport       = "import"
)

// Schema is a whole schema. The zero value is the empty one.
type Schema struct {
	// Uses are the flags that the schema needs, sorted.
	Uses        []string
	Definitions []*Definition // in the order of the source
	Caveats     []*Caveat     // in the order of the source

	definitions map[string]*Definition
	caveats     map[string]*Caveat
}

// Definition is a type of object.
type Definition struct {
	Name string // perhaps with prefixes: tenant/document
	// Comment is what stands before it with its delimiters, one line after the
	// other, or empty.
	Comment     string
	Relations   []*Relation
	Permissions []*Permission

	members map[string]member
	order   []string // of relations and permissions together
}

// member is a relation or a permission.
type member struct {
	relation   *Relation
	permission *Permission
}

// Relation is what relationships are written to.
type Relation struct {
	Name    string
	Comment string
	Types   []AllowedType // at least one, each once
}

// AllowedType is a kind of subject that a relation takes.
type AllowedType struct {
	Type       string
	Relation   string // of a set of subjects such as group#member; empty: the object itself
	Wildcard   bool   // every object of the type; Relation is empty then
	Caveat     string // that a relationship must have; empty: it must have none
	Expiration bool   // whether a relationship must expire
}

// Permission is computed from relations and other permissions.
type Permission struct {
	Name    string
	Comment string
	Types   []string // the types that subjects may have, if the source says so
	Expr    Expr
}

// Expr is an expression of a permission: Union, Intersection, Exclusion, Ref,
// Arrow, Nil or Self.
type Expr interface{ isExpr() }

// Union holds who is in any child. No child is a Union; there are at least two.
type Union struct{ Children []Expr }

// Intersection holds who is in every child. No child is an Intersection; there
// are at least two.
type Intersection struct{ Children []Expr }

// Exclusion holds who is in Base and not in Subtracted.
type Exclusion struct{ Base, Subtracted Expr }

// Ref holds who has a relation or a permission of the same definition.
type Ref struct{ Name string }

// Arrow walks to the objects in a relation and holds who has Target there.
// Objects whose type has no Target contribute nobody.
type Arrow struct {
	Relation string
	Kind     ArrowKind
	Target   string
}

// Nil holds nobody.
type Nil struct{}

// Self holds the object itself.
type Self struct{}

func (Union) isExpr()        {}
func (Intersection) isExpr() {}
func (Exclusion) isExpr()    {}
func (Ref) isExpr()          {}
func (Arrow) isExpr()        {}
func (Nil) isExpr()          {}
func (Self) isExpr()         {}

// ArrowKind says over how many of the objects in an arrow's relation a subject
// must have the target.
type ArrowKind uint8

const (
	ArrowPlain ArrowKind = iota // any, written a->b
	ArrowAny                    // any, written a.any(b)
	ArrowAll                    // every one, and at least one, written a.all(b)
)

// Caveat is a condition that relationships may carry.
type Caveat struct {
	Name       string // perhaps with prefixes
	Comment    string
	Parameters []Parameter // sorted by name
	Expression string      // CEL
	Program    *caveat.Program
}

// Parameter is a named value that a caveat's expression reads.
type Parameter = caveat.Parameter

// Definition returns the definition of a name, or nil.
func (s *Schema) Definition(name string) *Definition { return s.definitions[name] }

// Caveat returns the caveat of a name, or nil.
func (s *Schema) Caveat(name string) *Caveat { return s.caveats[name] }

// Member returns the relation or the permission of a name, whichever there is;
// the other is nil.
func (d *Definition) Member(name string) (*Relation, *Permission) {
	m := d.members[name]
	return m.relation, m.permission
}

// Has reports whether there is a relation or a permission of a name.
func (d *Definition) Has(name string) bool {
	_, ok := d.members[name]
	return ok
}

// IsZero reports whether the schema says nothing.
func (s *Schema) IsZero() bool { return len(s.Definitions) == 0 && len(s.Caveats) == 0 }

// String is the type as a schema writes it.
func (a AllowedType) String() string {
	var b strings.Builder
	b.WriteString(a.Type)
	switch {
	case a.Wildcard:
		b.WriteString(":*")
	case a.Relation != "":
		b.WriteString("#" + a.Relation)
	}
	switch {
	case a.Caveat != "" && a.Expiration:
		b.WriteString(" with " + a.Caveat + " and expiration")
	case a.Caveat != "":
		b.WriteString(" with " + a.Caveat)
	case a.Expiration:
		b.WriteString(" with expiration")
	}
	return b.String()
}

// Allows reports whether a relation takes a kind of subject.
func (r *Relation) Allows(a AllowedType) bool { return slices.Contains(r.Types, a) }

// index makes the lookups by name.
func (s *Schema) index() {
	s.definitions = make(map[string]*Definition, len(s.Definitions))
	for _, d := range s.Definitions {
		s.definitions[d.Name] = d
	}
	s.caveats = make(map[string]*Caveat, len(s.Caveats))
	for _, c := range s.Caveats {
		s.caveats[c.Name] = c
	}
}
