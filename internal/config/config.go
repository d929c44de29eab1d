// Package config turns tidemark.yaml, TIDEMARK_ variables and flags into one
// typed, validated Config.
//
// A setting given twice is taken from the first of flag, variable, file,
// default. Load reports every problem at once, each with the line, variable or
// flag that it stands in. A Config holds the database's password but never
// prints it.
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
	Consistency Consistency
	Cache       Cache
	Fill        Fill
	Audit       Audit
}

// Listen says where tidemark serves.
type Listen struct {
	HTTP  string // host:port of the API that applications read
	Admin string // host:port of status, metrics and commands
	// TLSCert and TLSKey are files for the HTTP listener; both or neither.
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

// Redacted returns a copy whose Database has no password.
func (c Config) Redacted() Config {
	c.Database = RedactDatabase(c.Database)
	return c
}

// String formats the configuration as a file that Load would read, without
// the password.
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

// GoString keeps %#v from printing the password.
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
