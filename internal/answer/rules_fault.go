//go:build seamfault

package answer

import "os"

// In this build, TIDEMARK_SEAM_OFF names a rule of the seam that does not hold.
// It exists so that a test can show that the oracle finds such a fault.
var (
	ruleCompare = os.Getenv("TIDEMARK_SEAM_OFF") != "compare"
	ruleWait    = os.Getenv("TIDEMARK_SEAM_OFF") != "wait"
	ruleOrder   = os.Getenv("TIDEMARK_SEAM_OFF") != "order"
	ruleTorn    = os.Getenv("TIDEMARK_SEAM_OFF") != "torn"
	ruleInside  = os.Getenv("TIDEMARK_SEAM_OFF") != "inside"
	ruleSession = os.Getenv("TIDEMARK_SEAM_OFF") != "session"
)
