package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// errSnapshot is wrapped by errors about the Tidemark-Snapshot header.
var errSnapshot = errors.New("malformed " + HeaderSnapshot)

// requirement reads how fresh a request wants to be answered: by a level, or, for
// one of several answers that fit together, as of the token of an earlier one.
func requirement(h http.Header) (revision.Requirement, error) {
	level, snapshot := h[HeaderConsistency], h[HeaderSnapshot]
	switch {
	case len(snapshot) == 0:
		// Several header lines are one list, which is not one item.
		return revision.ParseConsistency(strings.Join(level, ", "))
	case len(level) > 0:
		return revision.Requirement{}, fmt.Errorf("%w: it does not go together with %s", errSnapshot, HeaderConsistency)
	case len(snapshot) > 1 || snapshot[0] != "same":
		return revision.Requirement{}, fmt.Errorf("%w: %q is not same", errSnapshot, strings.Join(snapshot, ", "))
	}
	token := h[HeaderToken]
	if len(token) == 0 {
		return revision.Requirement{}, nil // the first of them
	}
	t, err := revision.ParseToken(strings.Join(token, ", "))
	if err != nil {
		return revision.Requirement{}, err
	}
	return revision.Requirement{Level: revision.AtExactSnapshot, Token: t}, nil
}
