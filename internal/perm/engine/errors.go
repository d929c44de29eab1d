package engine

import "fmt"

// WildcardError: a question was asked about every object of a type.
type WildcardError struct{ Field string }

func (e *WildcardError) Error() string {
	return fmt.Sprintf("%s cannot be a wildcard", e.Field)
}

// DepthError: the answer lies behind more levels than may be followed, or
// depends on its own opposite.
type DepthError struct {
	Limit int
	// Negation says that the answer depends on its own opposite.
	Negation bool
}

func (e *DepthError) Error() string {
	if e.Negation {
		return "maximum depth exceeded: the relationships make a permission depend on its own exclusion"
	}
	return fmt.Sprintf("maximum depth exceeded: the answer lies behind more than %d levels; are the relationships nested that deeply on purpose?", e.Limit)
}

// CaveatError: a caveat could not be evaluated.
type CaveatError struct {
	Caveat string
	Err    error
}

func (e *CaveatError) Error() string {
	return fmt.Sprintf("caveat %q cannot be evaluated: %v", e.Caveat, e.Err)
}

func (e *CaveatError) Unwrap() error { return e.Err }
