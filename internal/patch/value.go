package patch

import "github.com/tidemarkdb/tidemark/internal/catalog"

// AppendJSON appends the JSON of a value that is not null, from its text in the
// log: what to_json makes of it. It returns false for types of which Renders
// says that they are not known, and for text that is not of the type.
func AppendJSON(dst []byte, base catalog.OID, enum bool, text []byte) ([]byte, bool) {
	return appendValue(dst, formOf(base, enum), text)
}
