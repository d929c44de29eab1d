//go:build !seamfault

package answer

// The rules of the seam, each of which a build with the tag seamfault can switch
// off, to show that the oracle notices.
const (
	// ruleCompare: a result is compared with the transactions that its snapshot
	// may not hold.
	ruleCompare = true
	// ruleWait: a result waits until the frontier has passed its upper bound.
	ruleWait = true
	// ruleOrder: a transaction is in the history before the frontier moves, and
	// a fill looks at what came after its upper bound.
	ruleOrder = true
	// ruleTorn: a result that shows a truncation which its snapshot does not
	// hold is of no position.
	ruleTorn = true
	// ruleInside: a version that begins with a transaction or after it holds all
	// of its changes, whichever of them are still being applied.
	ruleInside = true
	// ruleSession: what a snapshot of another session holds says nothing, since a
	// crash of the server gives ids again.
	ruleSession = true
)
