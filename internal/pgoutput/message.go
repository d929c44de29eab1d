// Package pgoutput decodes the messages of Postgres's logical decoding plugin
// of the same name, protocol versions 1 and 2, with values in text format.
//
// A Decoder turns the payload of one replication message into one typed
// Message. What it returns points into the payload and into the decoder's own
// scratch space: it holds until the next call and as long as the payload is
// not overwritten. No row costs an allocation. Every malformed payload is an
// *Error that names the message and the offset; none causes a panic.
//
// The wire format is the one of "Logical Replication Message Formats" in the
// Postgres manual. The package is pure and knows nothing of connections,
// transactions or what a message means for another. A Decoder belongs to one
// goroutine.
package pgoutput

import "time"

// Type is the first byte of a message.
type Type byte

// The types of message.
const (
	TypeBegin        Type = 'B'
	TypeCommit       Type = 'C'
	TypeOrigin       Type = 'O'
	TypeRelation     Type = 'R'
	TypeType         Type = 'Y'
	TypeInsert       Type = 'I'
	TypeUpdate       Type = 'U'
	TypeDelete       Type = 'D'
	TypeTruncate     Type = 'T'
	TypeMessage      Type = 'M'
	TypeStreamStart  Type = 'S'
	TypeStreamStop   Type = 'E'
	TypeStreamCommit Type = 'c'
	TypeStreamAbort  Type = 'A'
)

func (t Type) String() string {
	switch t {
	case TypeBegin:
		return "Begin"
	case TypeCommit:
		return "Commit"
	case TypeOrigin:
		return "Origin"
	case TypeRelation:
		return "Relation"
	case TypeType:
		return "Type"
	case TypeInsert:
		return "Insert"
	case TypeUpdate:
		return "Update"
	case TypeDelete:
		return "Delete"
	case TypeTruncate:
		return "Truncate"
	case TypeMessage:
		return "Message"
	case TypeStreamStart:
		return "Stream Start"
	case TypeStreamStop:
		return "Stream Stop"
	case TypeStreamCommit:
		return "Stream Commit"
	case TypeStreamAbort:
		return "Stream Abort"
	}
	return "unknown message " + quoteByte(byte(t))
}

// HasXID reports whether messages of this type start with a transaction id
// when they are sent inside a stream block.
func (t Type) HasXID() bool {
	switch t {
	case TypeRelation, TypeType, TypeInsert, TypeUpdate, TypeDelete, TypeTruncate, TypeMessage:
		return true
	}
	return false
}

// Message is one of the pointer types below.
type Message interface {
	// Type returns the message's first byte.
	Type() Type
}

// Begin opens a transaction that is sent whole, after its commit.
type Begin struct {
	FinalLSN uint64 // where the commit record starts
	Time     time.Time
	XID      uint32
}

// Commit closes what Begin opened.
type Commit struct {
	Flags     byte
	CommitLSN uint64
	EndLSN    uint64
	Time      time.Time
}

// Origin names the replication origin of the transaction that it is part of.
type Origin struct {
	CommitLSN uint64
	Name      string
}

// RelationColumn is one column of a Relation.
type RelationColumn struct {
	Key  bool // part of the replica identity
	Name string
	Type uint32
	Mod  int32
}

// Relation describes a table before its first row and after each change.
type Relation struct {
	XID       uint32 // in a stream block, else 0
	OID       uint32
	Namespace string // empty means pg_catalog
	Name      string
	Identity  byte // pg_class.relreplident
	Columns   []RelationColumn
}

// DataType describes a type that is not built in.
type DataType struct {
	XID       uint32
	OID       uint32
	Namespace string
	Name      string
}

// Kind says how a column of a tuple is sent.
type Kind byte

// The kinds of column.
const (
	Null      Kind = 'n'
	Unchanged Kind = 'u' // a TOAST value that the statement did not touch
	Text      Kind = 't'
)

// Column is one column of a tuple. Text points into the payload.
type Column struct {
	Kind Kind
	Text []byte
}

// Insert is a new row.
type Insert struct {
	XID      uint32
	Relation uint32
	New      []Column
}

// OldKind says what a message holds of the row as it was.
type OldKind byte

// The kinds of old tuple.
const (
	NoOld   OldKind = 0
	OldKey  OldKind = 'K' // replica identity columns; all others are sent as null
	OldFull OldKind = 'O' // the whole row
)

// Update is a row that changed.
type Update struct {
	XID      uint32
	Relation uint32
	OldKind  OldKind
	Old      []Column // empty under NoOld
	New      []Column
}

// Delete is a row that is gone.
type Delete struct {
	XID      uint32
	Relation uint32
	OldKind  OldKind // never NoOld
	Old      []Column
}

// Truncate empties tables.
type Truncate struct {
	XID             uint32
	Cascade         bool
	RestartIdentity bool
	Relations       []uint32
}

// LogicalMessage is what pg_logical_emit_message wrote. Content points into
// the payload.
type LogicalMessage struct {
	XID           uint32
	Transactional bool
	LSN           uint64
	Prefix        string
	Content       []byte
}

// StreamStart opens a block of changes of a transaction that is in progress.
type StreamStart struct {
	XID   uint32 // of the top-level transaction
	First bool
}

// StreamStop closes the block.
type StreamStop struct{}

// StreamCommit says that a streamed transaction committed.
type StreamCommit struct {
	XID       uint32
	Flags     byte
	CommitLSN uint64
	EndLSN    uint64
	Time      time.Time
}

// StreamAbort says that a streamed transaction, or a sub-transaction of it,
// rolled back. SubXID equals XID when the whole did.
type StreamAbort struct {
	XID    uint32
	SubXID uint32
}

func (*Begin) Type() Type          { return TypeBegin }
func (*Commit) Type() Type         { return TypeCommit }
func (*Origin) Type() Type         { return TypeOrigin }
func (*Relation) Type() Type       { return TypeRelation }
func (*DataType) Type() Type       { return TypeType }
func (*Insert) Type() Type         { return TypeInsert }
func (*Update) Type() Type         { return TypeUpdate }
func (*Delete) Type() Type         { return TypeDelete }
func (*Truncate) Type() Type       { return TypeTruncate }
func (*LogicalMessage) Type() Type { return TypeMessage }
func (*StreamStart) Type() Type    { return TypeStreamStart }
func (*StreamStop) Type() Type     { return TypeStreamStop }
func (*StreamCommit) Type() Type   { return TypeStreamCommit }
func (*StreamAbort) Type() Type    { return TypeStreamAbort }
