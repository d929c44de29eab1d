//go:build !seamfault

package match

// Rules without which a row would be taken for one that does not count. A build
// with the tag seamfault can switch each of them off, to show that the oracle
// notices.
const (
	// ruleEdge: a row in the very place of the last one is not behind it.
	ruleEdge = true
	// ruleWitness: a witness does not stand for itself.
	ruleWitness = true
	// ruleTested: only columns that are tested and nothing else matter by their
	// verdict alone.
	ruleTested = true
)
