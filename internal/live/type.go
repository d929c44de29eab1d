package live

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// TypesSQL reads what the catalogue says of the types $1 (oid[]) and of all that
// they are made of, one TypeRow for each row, its fields in the same order.
const TypesSQL = `WITH RECURSIVE wanted(oid) AS (
	SELECT unnest($1::pg_catalog.oid[])
	UNION
	SELECT part.oid FROM wanted
	JOIN pg_catalog.pg_type t ON t.oid = wanted.oid
	CROSS JOIN LATERAL (
		SELECT t.typbasetype WHERE t.typbasetype <> 0
		UNION ALL SELECT e.oid FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid
		UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
			WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid
		UNION ALL SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid
	) part(oid)
)
SELECT t.oid, t.typname::text, t.typtype::text, t.typdelim::text, t.typbasetype, t.typtypmod, t.typndims,
	coalesce((SELECT e.oid FROM pg_catalog.pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid), 0),
	CASE t.typtype
		WHEN 'c' THEN ARRAY(SELECT a.atttypid FROM pg_catalog.pg_attribute a
			WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
		WHEN 'r' THEN ARRAY(SELECT r.rngsubtype FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
		WHEN 'm' THEN ARRAY(SELECT r.rngtypid FROM pg_catalog.pg_range r WHERE r.rngmultitypid = t.oid)
		ELSE '{}'
	END,
	t.oid >= 16384 AND EXISTS (SELECT FROM pg_catalog.pg_cast c
		WHERE c.castsource = t.oid AND c.casttarget = 'pg_catalog.json'::pg_catalog.regtype AND c.castmethod = 'f')
FROM wanted JOIN pg_catalog.pg_type t ON t.oid = wanted.oid`

// ColumnsSQL reads the columns of the table $1 (oid), one ColumnRow for each
// row, in the order of the table.
const ColumnsSQL = `SELECT a.attname::text, a.atttypid, a.atttypmod, a.attndims::int4, a.attnotnull, a.attgenerated <> '',
	coalesce((SELECT pg_catalog.array_position((i.indkey::int2[])[0:i.indnkeyatts - 1], a.attnum)
		FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary), 0)::int4
FROM pg_catalog.pg_attribute a
WHERE a.attrelid = $1::pg_catalog.oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum`

// TypeRow is one row of TypesSQL.
type TypeRow struct {
	OID     uint32
	Name    string
	Kind    string // pg_type.typtype
	Delim   string // between the elements of an array of it
	Base    uint32 // of a domain
	Mod     int32  // of a domain
	Dims    int32  // of a domain
	Elem    uint32 // of an array
	Members []uint32
	Cast    bool // to json, by a function of the application
}

// ColumnRow is one row of ColumnsSQL.
type ColumnRow struct {
	Name      string
	Type      uint32
	Mod       int32
	Dims      int32
	NotNull   bool
	Generated bool
	Key       int32 // place in the primary key from 1, or 0
}

// Type is the type of a column, below its domains, as far as it matters to the
// text of its values. It is immutable.
type Type struct {
	OID  catalog.OID
	Name string
	// Kind is pg_type.typtype: b base, c composite, e enum, r range, m
	// multirange, p pseudo.
	Kind byte
	Mod  int32 // the modifier, or -1
	Dims int   // of an array as declared, at least 1; 0 for all others
	Elem *Type // of an array

	delim    byte    // between the elements of an array of it
	members  []*Type // of a composite; the one of a range or multirange
	cast     bool    // row_to_json makes what a cast to json says
	interval bool    // there is an interval in it
}

// Types are types by oid.
type Types map[catalog.OID]TypeRow

// NewTypes returns the types that TypesSQL read.
func NewTypes(rows []TypeRow) Types {
	t := make(Types, len(rows))
	for _, r := range rows {
		t[catalog.OID(r.OID)] = r
	}
	return t
}

// Type returns the type of a column of a type, modifier (-1 for none) and number
// of dimensions (0 where it is not known).
func (t Types) Type(oid catalog.OID, mod, dims int32) (*Type, error) {
	return t.resolve(oid, mod, dims, 0)
}

// maxNested bounds how deep types are made of types. Postgres has no type that
// holds itself.
const maxNested = 100

func (t Types) resolve(oid catalog.OID, mod, dims int32, depth int) (*Type, error) {
	row, ok := t[oid]
	for ; ok && row.Kind == "d"; row, ok = t[oid] {
		oid, mod, dims = catalog.OID(row.Base), row.Mod, row.Dims
		if depth++; depth > maxNested {
			break
		}
	}
	if !ok || depth > maxNested || len(row.Kind) != 1 || len(row.Delim) != 1 {
		return nil, fmt.Errorf("the catalogue does not say what type %d is", oid)
	}
	out := &Type{OID: oid, Name: row.Name, Kind: row.Kind[0], Mod: mod, delim: row.Delim[0], cast: row.Cast, interval: oid == intervalOID}
	if row.Elem != 0 {
		elem, err := t.resolve(catalog.OID(row.Elem), mod, 0, depth+1)
		if err != nil {
			return nil, err
		}
		out.Elem, out.Dims, out.interval = elem, max(int(dims), 1), elem.interval
	}
	for _, m := range row.Members {
		member, err := t.resolve(catalog.OID(m), -1, 0, depth+1)
		if err != nil {
			return nil, err
		}
		out.members = append(out.members, member)
		out.interval = out.interval || member.interval
	}
	return out, nil
}

// Types that values are treated by.
const (
	boolOID        catalog.OID = 16
	int2vectorOID  catalog.OID = 22
	oidvectorOID   catalog.OID = 30
	jsonOID        catalog.OID = 114
	timestampOID   catalog.OID = 1114
	timestamptzOID catalog.OID = 1184
	intervalOID    catalog.OID = 1186
	jsonbOID       catalog.OID = 3802
)

// jsonType is that of values which stay JSON.
var jsonType = &Type{OID: jsonOID, Name: "json", Kind: 'b', Mod: -1, delim: ','}

// InAnswer returns the type that a value of t has as Value returns it: json
// where row_to_json makes an object of it or of its elements.
func (t *Type) InAnswer() *Type {
	if t.object() {
		return jsonType
	}
	return t
}

// object reports whether row_to_json writes values of t, or their elements, in a
// form from which the text cannot be had.
func (t *Type) object() bool {
	if t.Elem != nil {
		return t.Elem.object()
	}
	return t.Kind == 'c' || t.Kind == 'p' || t.cast
}
