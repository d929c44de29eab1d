package revision

import (
	"errors"
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/structured"
)

// Level is how fresh a request must be answered.
type Level byte

// The four levels.
const (
	MinimizeLatency Level = iota
	AtLeastAsFresh
	AtExactSnapshot
	FullyConsistent
)

var levelNames = [...]string{"minimize_latency", "at_least_as_fresh", "at_exact_snapshot", "fully_consistent"}

func (l Level) String() string { return levelNames[l] }

// Requirement is a level, with its token where the level has one.
type Requirement struct {
	Level Level
	Token Token
}

// ErrConsistencyMalformed is wrapped by errors about the header that are not
// about its token.
var ErrConsistencyMalformed = errors.New("malformed consistency level")

// ParseConsistency reads the value of the Tidemark-Consistency header: one
// Structured Field token, with a parameter token="…" where the level needs one.
// The empty value is minimize_latency.
func ParseConsistency(value string) (Requirement, error) {
	switch value {
	case "", "minimize_latency":
		return Requirement{}, nil
	case "fully_consistent":
		return Requirement{Level: FullyConsistent}, nil
	}
	it, err := structured.ParseItem(value)
	if err != nil {
		return Requirement{}, fmt.Errorf("%w: %w", ErrConsistencyMalformed, err)
	}
	name, ok := it.Value.(structured.Token)
	if !ok {
		return Requirement{}, fmt.Errorf("%w: a level is a bare word such as fully_consistent", ErrConsistencyMalformed)
	}
	for l, n := range levelNames {
		if string(name) == n {
			return withToken(Level(l), it)
		}
	}
	return Requirement{}, fmt.Errorf("%w: %q is none of minimize_latency, at_least_as_fresh, at_exact_snapshot, fully_consistent",
		ErrConsistencyMalformed, string(name))
}

func withToken(l Level, it structured.Item) (Requirement, error) {
	v, given := it.Param("token")
	wants := l == AtLeastAsFresh || l == AtExactSnapshot
	switch {
	case !wants && given:
		return Requirement{}, fmt.Errorf("%w: %s takes no token", ErrConsistencyMalformed, l)
	case !wants:
		return Requirement{Level: l}, nil
	case !given:
		return Requirement{}, fmt.Errorf(`%w: %s needs a token, as in %s; token="…"`, ErrConsistencyMalformed, l, l)
	}
	s, ok := v.(string)
	if !ok {
		return Requirement{}, fmt.Errorf(`%w: the token is a string in quotes, as in %s; token="…"`, ErrConsistencyMalformed, l)
	}
	t, err := ParseToken(s)
	if err != nil {
		return Requirement{}, err
	}
	return Requirement{Level: l, Token: t}, nil
}
