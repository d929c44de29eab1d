// Package tuple is the vocabulary of relationships: what they are made of, and
// their text form.
//
// The words are SpiceDB's. A relationship says that a subject stands in a
// relation to a resource, perhaps only under a caveat, perhaps only until a
// time. The package is pure.
package tuple

import "time"

// Object names a resource or a subject, such as document:plan.
type Object struct {
	Type string // perhaps with a prefix: tenant/document
	ID   string // "*" is every object of the type, and stands in subjects only
}

// Wildcard is the id that means every object of a type.
const Wildcard = "*"

// Subject is an object, or with a Relation everyone who stands in that relation
// to it.
type Subject struct {
	Object
	Relation string // empty for the object itself, which the text writes as nothing or "..."
}

// Relationship is comparable: two are the same value if and only if they say
// the same.
type Relationship struct {
	Resource Object
	Relation string
	Subject  Subject
	Caveat   string // name, or empty
	Context  string // JSON object in canonical form (see Canonical), or empty
	Expires  int64  // Unix time in microseconds; 0: never
}

// Key returns the relationship without what qualifies it. One resource, relation
// and subject have at most one relationship that was written by a call.
func (r Relationship) Key() Relationship {
	r.Caveat, r.Context, r.Expires = "", "", 0
	return r
}

// Expired reports whether the relationship has ended at a time.
func (r Relationship) Expired(now time.Time) bool {
	return r.Expires != 0 && r.Expires <= now.UnixMicro()
}
