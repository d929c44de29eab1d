package engine

import "slices"

// Has says whether a subject has a permission.
type Has uint8

// The answers.
const (
	No          Has = iota
	Conditional     // it depends on context that the request does not give
	Yes
	// failed is inside only: whether it is yes or no could not be found out.
	failed
)

func (h Has) String() string {
	return [...]string{"no", "conditional", "yes", "failed"}[h]
}

// value is the answer to a sub-question. The logic is Kleene's, with two kinds
// of unknown: Conditional names what is missing, and failed outranks it.
type value struct {
	has     Has
	missing *fields // of Conditional only
	err     error   // of failed only
}

// fields are names in order, each once. They are shared and never changed.
type fields struct{ names []string }

var (
	no  = value{has: No}
	yes = value{has: Yes}
)

func broken(err error) value { return value{has: failed, err: err} }

func (v value) equal(w value) bool {
	return v.has == w.has && (v.missing == w.missing || v.missing != nil && w.missing != nil && slices.Equal(v.missing.names, w.missing.names))
}

func (v value) fields() []string {
	if v.missing == nil {
		return nil
	}
	return v.missing.names
}

func conditional(names []string) value {
	names = slices.Clone(names)
	slices.Sort(names)
	return value{has: Conditional, missing: &fields{slices.Compact(names)}}
}

// both is the fields of two values of which one at least is Conditional.
func both(a, b value) value {
	switch {
	case b.missing == nil || a.missing == b.missing:
		return value{has: Conditional, missing: a.missing}
	case a.missing == nil:
		return value{has: Conditional, missing: b.missing}
	}
	return conditional(slices.Concat(a.missing.names, b.missing.names))
}

func or(a, b value) value {
	switch {
	case a.has == Yes || b.has == Yes:
		return yes
	case a.has == failed:
		return a
	case b.has == failed:
		return b
	case a.has == No:
		return b
	case b.has == No:
		return a
	}
	return both(a, b)
}

func and(a, b value) value {
	switch {
	case a.has == No || b.has == No:
		return no
	case a.has == failed:
		return a
	case b.has == failed:
		return b
	case a.has == Yes:
		return b
	case b.has == Yes:
		return a
	}
	return both(a, b)
}

func minus(a, b value) value {
	switch {
	case a.has == No || b.has == Yes:
		return no
	case a.has == failed:
		return a
	case b.has == failed:
		return b
	case b.has == No:
		return a
	}
	return both(a, b)
}
