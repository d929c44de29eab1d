package config

import (
	"fmt"
	"strings"
)

// Problem is one thing that is wrong with the configuration.
type Problem struct {
	Where string // file:line, a variable, or a flag
	Key   string // the setting, where Where does not name it
	Text  string
}

func (p Problem) String() string {
	if p.Key == "" {
		return p.Where + ": " + p.Text
	}
	return p.Where + ": " + p.Key + ": " + p.Text
}

// Problems is the error that Load returns: everything that is wrong, in the
// order in which a reader meets it.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps *Problems) add(where, key, format string, args ...any) {
	*ps = append(*ps, Problem{Where: where, Key: key, Text: fmt.Sprintf(format, args...)})
}

// nearest returns the candidate that a mistyped word most likely meant, or
// nothing when none is close.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", len(word)/2+1
	for _, c := range candidates {
		d := distance(word, c)
		// The last part alone: a key written without its section.
		if _, leaf, ok := strings.Cut(c, "."); ok {
			d = min(d, distance(word, leaf)+1)
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance, in which - and _ are the same.
func distance(a, b string) int {
	a, b = strings.ReplaceAll(strings.ToLower(a), "-", "_"), strings.ReplaceAll(strings.ToLower(b), "-", "_")
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := diagonal
			if a[i-1] != b[j-1] {
				substitute++
			}
			diagonal = row[j]
			row[j] = min(substitute, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
