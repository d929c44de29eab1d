package query

import "time"

// Options says how Analyze judges a file.
type Options struct {
	// Publication is the publication that the slot follows. Every table that an
	// endpoint reads has to be in it.
	Publication string
	// SkipPublication leaves that out: setup wants the list of tables first.
	SkipPublication bool
	// DefaultTTL is for files that name none; 0 means 24 hours.
	DefaultTTL time.Duration
}

const defaultTTL = 24 * time.Hour
