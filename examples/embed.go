// Package examples holds the sample applications, so that the binary can run
// them without their files.
package examples

import "embed"

// Shop is the shop sample: schema.sql, load.sql, tidemark.yaml, live.yaml and
// endpoints/ below the folder shop.
//
//go:embed shop
var Shop embed.FS
