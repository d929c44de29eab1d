// Package config turns tidemark.yaml, TIDEMARK_ variables and flags into one
// typed, validated Config.
//
// A setting given twice is taken from the first of flag, variable, file,
// default. Load reports every problem at once, each with the line, variable or
// flag that it stands in. A Config holds the database's password, the keys of
// permissions and the secrets of followers but never prints them.
package config

import (
	"fmt"
	"strings"
	"time"
)

// Config is everything that tidemark is told before it starts. Load returns
// only valid ones.
type Config struct {
	// File is the configuration file that was read, or empty.
	File string

	// Database is a Postgres connection string. Empty means that the standard
	// PG variables say where the database is.
	Database  string
	Endpoints string // the folder of endpoint files
	Listen    Listen

	Slot        string
	Publication string
	// ReplicaIdentity is what tidemark init gives to tables: full, or keep for a
	// usable one.
	ReplicaIdentity string
	Consistency     Consistency
	Cache           Cache
	Fill            Fill
	Audit           Audit
	Permissions     Permissions
	Live            Live
}

// Listen says where tidemark serves.
type Listen struct {
	HTTP  string // host:port of the API that applications read
	Admin string // host:port of status, metrics and commands
	// GRPC is host:port of permissions, and GRPCGateway of the same as HTTP and
	// JSON. Empty: there are none.
	GRPC        string
	GRPCGateway string
	// TLSCert and TLSKey are files for all listeners but the admin one; both or
	// neither.
	TLSCert string
	TLSKey  string
}

// Consistency holds the bounds of the consistency levels.
type Consistency struct {
	WaitTimeout  time.Duration // how long a request waits for the frontier
	MaxStaleness time.Duration // how old an answer minimize_latency may serve while it is refilled
	GCWindow     time.Duration // how long old versions are kept for at_exact_snapshot
	// RevisionQuantizationInterval is how far apart the pinned snapshots are from
	// which at_exact_snapshot answers what is not cached.
	RevisionQuantizationInterval time.Duration
}

// Cache bounds the kept answers.
type Cache struct {
	MaxMemory int64 // bytes
	TTL       time.Duration
}

// Fill bounds the queries that compute answers.
type Fill struct {
	MaxConnections   int
	StatementTimeout time.Duration
	Queue            int  // requests that may wait for a connection; beyond it they are turned away
	Batch            int  // answers of one endpoint that one query may compute
	Refill           bool // compute answers that are read often as soon as a change ends them
}

// Audit bounds the comparison of cached answers with the database.
type Audit struct {
	PerMinute int // answers; 0: none
}

// Permissions says how permissions are served, where Listen.GRPC says that they
// are.
type Permissions struct {
	Keys        Secrets // the bearer tokens that open them
	Mapping     string  // file of the rules by which rows are relationships; empty: none
	Connections int     // that write relationships and schema
}

// Live says how tables and endpoints are followed.
type Live struct {
	// Dir is the folder of what followers need after a restart; it is made when
	// it is first needed.
	Dir         string
	Tables      string  // file of the tables that may be followed; empty: only endpoints may
	MaxLog      int64   // bytes of these tables' changes that are kept
	ChunkSize   int64   // bytes of a response, about
	AllowDelete bool    // clients may end shapes
	Secrets     Secrets // that open everything; with neither these nor AccountKey nothing is asked
	// AccountKey is the key by which tokens are signed that bind a subscriber to
	// an account.
	AccountKey Secret
}

// Secret is a text that is not printed.
type Secret string

// String says no more than whether there is one.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString keeps %#v from printing it.
func (s Secret) GoString() string { return s.String() }

// hidden stands for what is not printed.
const hidden = "xxxxx"

// Secrets are texts that are not printed.
type Secrets []string

// String tells how many there are.
func (s Secrets) String() string {
	each := make([]string, len(s))
	for i := range each {
		each[i] = hidden
	}
	return strings.Join(each, ",")
}

// GoString keeps %#v from printing them.
func (s Secrets) GoString() string { return s.String() }

// Redacted returns a copy whose Database has no password and whose keys and
// secrets are hidden.
func (c Config) Redacted() Config {
	c.Database = RedactDatabase(c.Database)
	for _, s := range []*Secrets{&c.Permissions.Keys, &c.Live.Secrets} {
		if *s != nil {
			*s = strings.Split(s.String(), ",")
		}
	}
	c.Live.AccountKey = Secret(c.Live.AccountKey.String())
	return c
}

// String formats the configuration as a file that Load would read, without
// the password, keys and secrets.
func (c Config) String() string {
	c = c.Redacted()
	var b strings.Builder
	section := ""
	for _, s := range settings {
		head, leaf, nested := strings.Cut(s.key, ".")
		value := s.get(&c)
		if value == "" {
			continue
		}
		if !nested {
			fmt.Fprintf(&b, "%s: %s\n", head, quote(value))
			continue
		}
		if head != section {
			section = head
			fmt.Fprintf(&b, "%s:\n", head)
		}
		fmt.Fprintf(&b, "  %s: %s\n", leaf, quote(value))
	}
	return b.String()
}

// GoString keeps %#v from printing the secrets.
func (c Config) GoString() string { return c.String() }

// quote writes a value as a YAML scalar in which Load expands nothing.
func quote(s string) string {
	s = strings.ReplaceAll(s, "$", "$$")
	plain := s != "" && !strings.ContainsAny(s, "\"'\\#{}[]&*!|>%@`,\n\t") &&
		!strings.Contains(s, ": ") && strings.TrimSpace(s) == s && s[0] != '-' && s[0] != '?' && s[0] != ':'
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", "''") + "'"
}
