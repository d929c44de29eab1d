// Package perm is the state of permissions: a schema and a graph of
// relationships as of a position of the log, the versions of the recent past,
// and what changed between them.
//
// A Delta enters at State.Apply and nowhere else, in log order; it makes one
// immutable Version of which readers take hold without locks. Where deltas come
// from (Postgres's log, or memory) is a Backend's business, and so is how fresh a
// version a request may have. Faces ask Backends.
package perm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/perm/tuple"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// Version is everything as of one position. It is immutable.
type Version struct {
	LSN revision.LSN
	// Schema is nil until one is written; Model is its compiled form, of an empty
	// schema then.
	Schema *schema.Schema
	Model  *engine.Model
	// SchemaVersion grows with every schema that is written.
	SchemaVersion int64
	Graph         *graph.Snapshot
	// Order says in which order Graph lists relationships, together with its
	// epoch: what is loaded again comes in another one.
	Order uint64
	// Broken says why the schema cannot be used, where somebody wrote one into
	// the database that does not compile. Nothing is answered then.
	Broken error
	// Counters are the filters of registered counters by name.
	Counters map[string]graph.Filter
}

// Delta is what one transaction means.
type Delta struct {
	End           revision.LSN // where it ends, the position of the version that it makes
	XID           revision.XID
	At            time.Time
	Schema        *string // the new schema's text, or nil
	SchemaVersion int64
	Updates       []graph.Update
	// Metadata is what the writer said about the transaction, a JSON object, or
	// empty.
	Metadata string
	// Counters holds what was registered, and with nil what was unregistered.
	Counters map[string]*graph.Filter
}

// View is a version with the token under which the same can be had again.
type View struct {
	*Version
	Token string
	// Cache holds sub-answers that outlive requests.
	Cache *engine.Cache
}

// Op says what a write does to a relationship.
type Op byte

// The operations.
const (
	Create Op = iota // fails where it exists
	Touch            // creates or replaces
	Delete           // does nothing where it does not exist
)

// Update is one element of a write.
type Update struct {
	Op Op
	tuple.Relationship
}

// Precondition must hold for a write to take place: some relationship matches
// the filter or, if Absent, none does.
type Precondition struct {
	Filter graph.Filter
	Absent bool
}

// Write is one transaction of relationships. No two updates may have one key.
type Write struct {
	Updates       []Update
	Preconditions []Precondition
	Metadata      string // a JSON object, or empty
}

// Deletion removes what matches a filter.
type Deletion struct {
	Filter        graph.Filter
	Preconditions []Precondition
	Metadata      string
	// Limit bounds how many are deleted, 0: not at all. More than that is an
	// error, ErrTooMany, unless Partial.
	Limit   uint32
	Partial bool
}

// Deleted is what became of a deletion.
type Deleted struct {
	Token string
	Count uint64
	// More says that some that match are left.
	More bool
}

// Backend is what faces ask.
type Backend interface {
	// View returns a version that satisfies the requirement, and waits for it
	// until the deadline of ctx.
	View(ctx context.Context, req revision.Requirement) (View, error)
	// Write, Delete, Import and WriteSchema return the token of their own
	// transaction.
	Write(ctx context.Context, w Write) (token string, err error)
	Delete(ctx context.Context, d Deletion) (Deleted, error)
	// Import creates what next returns, in one transaction, until next returns
	// nothing or an error, which it passes on.
	Import(ctx context.Context, next func() ([]tuple.Relationship, error)) (count uint64, err error)
	WriteSchema(ctx context.Context, text string) (token string, err error)
	// SetCounter registers a filter under a name, or unregisters it if nil.
	SetCounter(ctx context.Context, name string, filter *graph.Filter) error
	// Watch returns a cursor over what comes after a token, or after now if it is
	// empty.
	Watch(ctx context.Context, token string) (*Cursor, error)
	// Through returns the position up to which a cursor has seen everything once
	// Next has nothing more for it.
	Through() revision.LSN
	// Token names a position.
	Token(lsn revision.LSN) string
	// Parse reads a token; the error says what is wrong with it.
	Parse(token string) (revision.Token, error)
	// Mapped reports whether relationships of a relation come from the
	// application's tables and cannot be written.
	Mapped(typ, relation string) bool
}

// Errors that callers test for.
var (
	// ErrExpired: the version asked for is not kept any more.
	ErrExpired = errors.New("snapshot expired")
	// ErrLoading: the relationships are not in memory yet.
	ErrLoading = errors.New("the relationships are being loaded")
	// ErrTooMany: a deletion would exceed its limit.
	ErrTooMany = errors.New("more relationships match than may be deleted at once")
	// ErrBehind: a watcher fell so far behind that what it needs is not kept.
	ErrBehind = errors.New("what changed since then is not kept any more")
	// ErrNoSchema: no schema has been written.
	ErrNoSchema = errors.New("no schema has been defined; write one first")
	// ErrBrokenSchema: somebody wrote a schema into the database that does not
	// compile. Writing one that does is the way out.
	ErrBrokenSchema = errors.New("the schema in the database does not compile")
	// ErrMappingUnfit: what rows of the application's tables mean would not fit the
	// schema.
	ErrMappingUnfit = errors.New("the mapping does not fit the schema")
	// ErrCounterExists and ErrNoCounter are about counters' names.
	ErrCounterExists = errors.New("a counter of this name is registered")
	ErrNoCounter     = errors.New("no counter of this name is registered")
	// ErrSerialization: other writers got in the way, again and again.
	ErrSerialization = errors.New("concurrent writes got in the way; try again")
)

// ExistsError: a relationship that was to be created exists.
type ExistsError struct{ Relationship tuple.Relationship }

func (e *ExistsError) Error() string {
	return fmt.Sprintf("%s exists: CREATE would make it again; use TOUCH to replace it", e.Relationship)
}

// PreconditionError: a precondition does not hold.
type PreconditionError struct{ Precondition Precondition }

func (e *PreconditionError) Error() string {
	if e.Precondition.Absent {
		return "a relationship matches the precondition, which wants none"
	}
	return "no relationship matches the precondition, which wants one"
}

// MappedError: a relation's relationships come from the application's tables.
type MappedError struct{ Type, Relation string }

func (e *MappedError) Error() string {
	return fmt.Sprintf("relationships of %s#%s come from the application's tables, as the mapping says; write the rows instead", e.Type, e.Relation)
}

// OrphanError: a schema would take away what relationships rest on.
type OrphanError struct {
	Dropped      schema.Drop
	Relationship tuple.Relationship // one that would be left without
}

func (e *OrphanError) Error() string {
	return fmt.Sprintf("%s cannot be taken away: relationship %s rests on it; delete such relationships first", e.Dropped, e.Relationship)
}
