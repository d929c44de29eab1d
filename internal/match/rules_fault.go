//go:build seamfault

package match

import "os"

// See rules.go. TIDEMARK_SEAM_OFF names the rule that does not hold.
var (
	ruleEdge    = os.Getenv("TIDEMARK_SEAM_OFF") != "edge"
	ruleWitness = os.Getenv("TIDEMARK_SEAM_OFF") != "witness"
	ruleTested  = os.Getenv("TIDEMARK_SEAM_OFF") != "tested"
)
