// Package catalog describes tables as the log reports them.
//
// The package is pure; its values are immutable once published.
package catalog

// OID is a Postgres object id.
type OID uint32

// Identity is a table's replica identity, as pg_class.relreplident.
type Identity byte

// The four replica identities.
const (
	IdentityDefault Identity = 'd' // primary key, if there is one
	IdentityNothing Identity = 'n'
	IdentityFull    Identity = 'f'
	IdentityIndex   Identity = 'i'
)

// Column is one column of a relation, in the order in which rows carry it.
type Column struct {
	Name string
	Type OID
	// Key says that the column belongs to the replica identity. Under
	// IdentityFull every column does.
	Key bool
}

// Relation is one table as one relation message described it. A changed
// definition is a new Relation, so pointers may be compared and used as keys.
type Relation struct {
	OID      OID
	Schema   string
	Name     string
	Identity Identity
	Columns  []Column
}

// String returns schema.name.
func (r *Relation) String() string { return r.Schema + "." + r.Name }

// Column returns the index of the named column, or -1.
func (r *Relation) Column(name string) int {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// SameShape reports whether two descriptions have equal names, identity,
// columns and types. Postgres repeats relation messages without a change.
func (r *Relation) SameShape(o *Relation) bool {
	if r.OID != o.OID || r.Schema != o.Schema || r.Name != o.Name ||
		r.Identity != o.Identity || len(r.Columns) != len(o.Columns) {
		return false
	}
	for i := range r.Columns {
		if r.Columns[i] != o.Columns[i] {
			return false
		}
	}
	return true
}
