//go:build seamfault

package query

import "os"

// See rules.go. TIDEMARK_SEAM_OFF names the rule that does not hold.
var ruleKeys = os.Getenv("TIDEMARK_SEAM_OFF") != "keys"
