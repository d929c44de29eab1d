package tuple

import (
	"fmt"
	"strings"
)

// The longest names, in bytes.
const (
	maxType     = 128
	maxRelation = 64
	maxID       = 1024
	maxCaveat   = 128
)

// Ellipsis is how a subject's relation is written when the subject is the object
// itself.
const Ellipsis = "..."

// CheckType says why a name cannot be that of a definition: each part between
// slashes is a name, as CheckRelation takes it.
func CheckType(name string) error {
	if len(name) > maxType {
		return fmt.Errorf("the type %.40s… is longer than %d characters", name, maxType)
	}
	rest := name
	for {
		part, after, more := strings.Cut(rest, "/")
		longest := maxRelation
		if more {
			longest--
		}
		if !isName(part) || len(part) > longest {
			return fmt.Errorf("%q is not the name of a type: each part has 3 to %d lower-case letters, digits and underscores, "+
				"begins with a letter and does not end with an underscore", name, longest)
		}
		if !more {
			return nil
		}
		rest = after
	}
}

// CheckRelation says why a name cannot be that of a relation or a permission.
func CheckRelation(name string) error {
	if !isName(name) || len(name) > maxRelation {
		return fmt.Errorf("%q is not the name of a relation: it has 3 to %d lower-case letters, digits and underscores, "+
			"begins with a letter and does not end with an underscore", name, maxRelation)
	}
	return nil
}

// CheckID says why a text cannot be the id of an object. A lone * is the
// wildcard, which only subjects may have.
func CheckID(id string) error {
	switch {
	case id == Wildcard:
		return nil
	case id == "":
		return fmt.Errorf("the id of an object is empty")
	case len(id) > maxID:
		return fmt.Errorf("the id %.40s… has %d characters; %d are the most", id, len(id), maxID)
	}
	for i := range len(id) {
		if !isIDByte(id[i]) {
			return fmt.Errorf("the id %.200q has a character other than letters, digits and / _ | - = +", id)
		}
	}
	return nil
}

// CheckCaveat says why a name cannot be that of a caveat.
func CheckCaveat(name string) error {
	ok := name != "" && len(name) <= maxCaveat && (isLetterOrDigit(name[0]) || name[0] == '_')
	for i := 1; ok && i < len(name); i++ {
		ok = isCaveatByte(name[i])
	}
	if !ok {
		return fmt.Errorf("%.200q is not the name of a caveat: it has 1 to %d letters, digits and / _ | -, "+
			"and begins with a letter, a digit or an underscore", name, maxCaveat)
	}
	return nil
}

func isName(s string) bool {
	if len(s) < 3 || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '_' {
		return false
	}
	for i := range len(s) {
		if !isNameByte(s[i]) {
			return false
		}
	}
	return true
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_'
}

func isTypeByte(c byte) bool { return isNameByte(c) || c == '/' }

func isRelationByte(c byte) bool { return isNameByte(c) || c == '.' }

func isCaveatByte(c byte) bool {
	return isLetterOrDigit(c) || c == '/' || c == '_' || c == '|' || c == '-'
}

func isIDByte(c byte) bool { return isCaveatByte(c) || c == '=' || c == '+' }

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
