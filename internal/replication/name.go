package replication

import (
	"errors"
	"fmt"
	"strings"
)

// maxName is the longest name of an object in Postgres, in bytes.
const maxName = 63

// CheckSlotName reports why Postgres would refuse a slot of this name.
func CheckSlotName(name string) error {
	if name == "" {
		return errors.New("the slot has no name")
	}
	if len(name) > maxName {
		return fmt.Errorf("slot name %q is longer than %d bytes", name, maxName)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return fmt.Errorf("slot name %q may hold only lower-case letters, digits and underscores", name)
		}
	}
	return nil
}

// CheckPublicationName reports why Postgres would not know a publication of
// this name.
func CheckPublicationName(name string) error {
	if name == "" {
		return errors.New("the publication has no name")
	}
	if len(name) > maxName {
		return fmt.Errorf("publication name %q is longer than %d bytes", name, maxName)
	}
	if strings.IndexByte(name, 0) >= 0 {
		return fmt.Errorf("publication name %q holds a zero byte", name)
	}
	return nil
}

func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// QuoteLiteral returns s as an SQL string constant that means the same
// whatever standard_conforming_strings says.
func QuoteLiteral(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.IndexByte(s, '\\') < 0 {
		return q
	}
	return " E" + strings.ReplaceAll(q, `\`, `\\`)
}

// quoteOption returns s as an option value of a replication command, whose
// grammar doubles quotes and knows no escapes.
func quoteOption(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func equalFold(a, b string) bool { return strings.EqualFold(a, b) }
