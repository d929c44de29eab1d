package setup

import (
	"time"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// state is what the plan is made from. It is plain values, so a plan can be
// made without a database.
type state struct {
	Version    int    // server_version_num
	Release    string // "15.18"
	InRecovery bool

	Database    string
	DatabaseSQL string // quoted where it must be
	User        string
	UserSQL     string
	Superuser   bool
	Replication bool // the role attribute
	Monitor     bool // may see other roles' activity
	CanCreate   bool // schemas and publications in this database
	CanTemp     bool

	// Pooled says that two statements met two server processes.
	Pooled bool
	// WALSender is why a replication connection was refused, and its SQLSTATE.
	WALSender     error
	WALSenderCode string
	// OtherServer says that the replication connection met another cluster.
	OtherServer bool

	Settings   map[string]int64 // integer settings, in bytes or milliseconds where they have a unit
	WALLevel   string
	SyncCommit string
	Slots      int // in use, in the whole cluster
	WALSenders int // in use

	SchemaExists  bool
	SchemaCreate  bool // this login may create in it
	Token, OnDDL  object
	Permissions   object          // the tables; owned and there only if all are
	Denied        []string        // of those, which this login may not read and write
	Triggers      map[string]bool // existing event triggers of ours, by name: in working order
	PublicationID string          // the publication's name, quoted where it must be
	Publication   *publication
	Tables        []*table // every physical table and partition root, parents first
	Missing       []Table  // asked for and not there
	// Breaking are tables that the publication has though they have no usable
	// identity.
	Breaking []string

	Slot             *slot
	LongTransactions []transaction
	Prepared         []transaction
}

// object is one function of the tidemark schema, or its tables.
type object struct {
	Exists  bool
	Version int // from its comment; 0 when it has none
	Owned   bool
}

// publication is one row of pg_publication.
type publication struct {
	Owned     bool
	Owner     string
	AllTables bool
	// The operations it publishes.
	Insert, Update, Delete, Truncate bool
	ViaRoot                          bool
	// StoredGenerated says that stored generated columns are published. Before
	// version 18 they never are and need not be.
	StoredGenerated bool
}

// table is a table, partitioned table or partition that endpoints read.
type table struct {
	OID       uint32
	Name      Table
	SQL       string // schema.name, quoted where it must be
	Kind      byte   // pg_class.relkind
	Permanent bool
	Identity  catalog.Identity
	// Usable says that the identity names rows: updates of the table may be
	// published.
	Usable bool
	// HasKey says that there is a primary key that replica identity DEFAULT
	// can use.
	HasKey bool
	// Index is a unique index fit for REPLICA IDENTITY USING INDEX, quoted.
	Index     string
	Owned     bool
	Owner     string
	CanSelect bool
	// Stored and Virtual say that the table has such generated columns.
	Stored, Virtual bool
	Asked           bool // an endpoint reads it, and not only through a table above it
	Parent          uint32
	Partition       bool // Parent is its partitioned table
	// Published says that our publication has it, by itself or through a
	// partitioned parent; Filter and ColumnList say what narrows that.
	Published  bool
	Filter     bool
	ColumnList bool
	// Elsewhere describes other publications that would make updates fail
	// under FULL.
	Elsewhere []elsewhere
}

// elsewhere is another publication that has the table.
type elsewhere struct {
	Publication     string
	ColumnList      bool
	StoredGenerated bool
}

type slot struct {
	Plugin       string
	Logical      bool
	Database     string
	Active       bool
	ActivePID    int32
	WALStatus    string // reserved, extended, unreserved, lost
	Invalidation string // why it is lost, 17+
	Retained     int64  // bytes of log that it keeps
	SafeSize     int64  // bytes until it is lost; -1 when there is no limit
}

type transaction struct {
	PID   int32
	GID   string // prepared transactions
	User  string
	State string
	Age   time.Duration
}
