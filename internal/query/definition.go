package query

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// relation is a row of pg_class with its columns.
type relation struct {
	oid                  uint32
	schema, name         string
	kind                 string // pg_class.relkind
	persistence          string
	identity             string // pg_class.relreplident
	owner                uint32
	rowSecurity          bool
	forceRowSecurity     bool
	partition            bool
	invoker              bool // a view that checks the rights of who reads it
	hasKey               bool // a primary key, or the index of its identity
	columns              []column
	descendants          []uint32 // with the relation itself, when loaded
	descendantsAreLoaded bool
}

// column is one row of pg_attribute; dropped ones are left out.
type column struct {
	number    int
	name      string
	typ       uint32
	collation uint32
	notNull   bool
	generated bool
}

func (r *relation) String() string { return r.schema + "." + r.name }

func (r *relation) column(number int) *column {
	for i := range r.columns {
		if r.columns[i].number == number {
			return &r.columns[i]
		}
	}
	return nil
}

// named returns the column with a name.
func (r *relation) named(name string) *column {
	for i := range r.columns {
		if r.columns[i].name == name {
			return &r.columns[i]
		}
	}
	return nil
}

// function is a row of pg_proc.
type function struct {
	oid        uint32
	schema     string
	name       string
	signature  string // name(argument types), for messages
	language   string
	volatility string // i, s or v
	kind       string // f, a, w or p
	owner      uint32
	definer    bool
	strict     bool
	config     []string
	source     string // prosrc
	body       string // prosqlbody, or empty
	arguments  string // as in CREATE FUNCTION
	result     string
	defaults   string // proargdefaults, or empty
	inputs     int    // number of input arguments
	parts      []uint32
}

func (f *function) builtin() bool { return f.oid < firstUserOID }

// typeInfo is a row of pg_type.
type typeInfo struct {
	oid             uint32
	name            string // format_type
	kind            string // typtype: b, c, d, e, m, p or r
	base            uint32 // of a domain
	element         uint32 // of a true array
	rangeOf         uint32 // of a range
	input           uint32
	inputVolatility string
	labels          []string // of an enum, in order
	checks          []string // conbin of a domain's constraints
}

// operator is a row of pg_operator with its place in the default btree family.
type operator struct {
	oid         uint32
	name        string
	function    uint32
	left, right uint32
	strategy    int // 1 <, 2 <=, 3 =, 4 >=, 5 >; 0 where it has no such place
	negator     uint32
}

// builtin reports whether it is the server's own operator of that name.
func (o *operator) builtin(name string, left, right uint32) bool {
	return o.name == name && o.oid < firstUserOID && o.left == left && o.right == right
}

type roleInfo struct {
	superuser, bypass bool
}

func (s *server) relation(oid uint32) *relation {
	if s.relations[oid] == nil {
		s.load([]uint32{oid})
	}
	return s.relations[oid]
}

// load reads relations with their columns, all in two queries: a table may
// have thousands of partitions.
func (s *server) load(oids []uint32) {
	var missing []uint32
	for _, oid := range oids {
		if s.relations[oid] == nil {
			s.relations[oid] = &relation{oid: oid, identity: "n"}
			missing = append(missing, oid)
		}
	}
	if len(missing) == 0 {
		return
	}
	s.each("relations", `
		SELECT c.oid, n.nspname, c.relname, c.relkind::text, c.relpersistence::text, c.relreplident::text,
		       c.relowner, c.relrowsecurity, c.relforcerowsecurity, c.relispartition,
		       coalesce((SELECT bool_or(o.option_value::bool) FROM pg_options_to_table(c.reloptions) o
		                 WHERE o.option_name = 'security_invoker'), false),
		       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
		               AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END)
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1)`,
		missing, func(row pgx.CollectableRow) error {
			var r relation
			err := row.Scan(&r.oid, &r.schema, &r.name, &r.kind, &r.persistence, &r.identity,
				&r.owner, &r.rowSecurity, &r.forceRowSecurity, &r.partition, &r.invoker, &r.hasKey)
			if err == nil {
				*s.relations[r.oid] = r
			}
			return err
		})
	s.each("columns", `
		SELECT attrelid, attnum, attname, atttypid, attcollation, attnotnull, attgenerated <> '' FROM pg_attribute
		WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum`,
		missing, func(row pgx.CollectableRow) error {
			var of uint32
			var c column
			err := row.Scan(&of, &c.number, &c.name, &c.typ, &c.collation, &c.notNull, &c.generated)
			if err == nil {
				s.relations[of].columns = append(s.relations[of].columns, c)
			}
			return err
		})
}

// uniques returns the columns of each unique index of a relation: those of which
// no two rows have the same values at any time, nulls apart.
func (s *server) uniques(oid uint32) map[uint32][]string {
	out := map[uint32][]string{}
	s.each("unique indexes", `
		SELECT i.indexrelid, a.attname
		FROM pg_index i, unnest(i.indkey[0:i.indnkeyatts - 1]) k(n)
		JOIN pg_attribute a ON a.attnum = k.n
		WHERE i.indrelid = ANY ($1) AND a.attrelid = i.indrelid AND i.indisunique AND i.indimmediate AND i.indisvalid
		  AND i.indpred IS NULL AND i.indexprs IS NULL`,
		[]uint32{oid}, func(row pgx.CollectableRow) error {
			var index uint32
			var name string
			err := row.Scan(&index, &name)
			if err == nil {
				out[index] = append(out[index], name)
			}
			return err
		})
	return out
}

// below returns the relation and all that inherits from it or partitions it.
func (s *server) below(r *relation) []uint32 {
	if !r.descendantsAreLoaded {
		r.descendantsAreLoaded = true
		r.descendants = column1[uint32](s, "inheritance", `
			WITH RECURSIVE d(oid) AS (
				SELECT $1::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN d ON d.oid = i.inhparent)
			SELECT oid FROM d ORDER BY oid`, r.oid)
		s.load(r.descendants)
	}
	return r.descendants
}

func (s *server) function(oid uint32) *function {
	if f := s.functions[oid]; f != nil {
		return f
	}
	f := &function{oid: oid, name: fmt.Sprintf("function %d", oid), volatility: "v"}
	s.functions[oid] = f
	s.row("a function", `
		SELECT n.nspname, p.proname, p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
		       l.lanname, p.provolatile::text, p.prokind::text, p.proowner, p.prosecdef, p.proisstrict,
		       coalesce(p.proconfig, '{}'), p.prosrc, coalesce(p.prosqlbody::text, ''),
		       coalesce(pg_get_function_arguments(p.oid), ''), coalesce(pg_get_function_result(p.oid), ''),
		       coalesce(p.proargdefaults::text, ''), p.pronargs,
		       coalesce((SELECT array_agg(x.oid) FROM pg_aggregate a,
		         LATERAL unnest(ARRAY[a.aggtransfn::oid, a.aggfinalfn::oid, a.aggcombinefn::oid, a.aggserialfn::oid,
		           a.aggdeserialfn::oid, a.aggmtransfn::oid, a.aggminvtransfn::oid, a.aggmfinalfn::oid]) x(oid)
		         WHERE a.aggfnoid = p.oid AND x.oid <> 0), '{}')
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
		WHERE p.oid = $1`,
		[]any{oid}, &f.schema, &f.name, &f.signature, &f.language, &f.volatility, &f.kind, &f.owner, &f.definer,
		&f.strict, &f.config, &f.source, &f.body, &f.arguments, &f.result, &f.defaults, &f.inputs, &f.parts)
	return f
}

func (s *server) typ(oid uint32) *typeInfo {
	if t := s.types[oid]; t != nil {
		return t
	}
	t := &typeInfo{oid: oid, kind: "p"}
	s.types[oid] = t
	s.row("a type", `
		SELECT format_type(t.oid, NULL), t.typtype::text, t.typbasetype,
		       CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END,
		       coalesce((SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid OR r.rngmultitypid = t.oid), 0),
		       t.typinput::oid, (SELECT p.provolatile::text FROM pg_proc p WHERE p.oid = t.typinput),
		       coalesce((SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid), '{}'),
		       coalesce((SELECT array_agg(c.conbin::text) FROM pg_constraint c WHERE c.contypid = t.oid AND c.conbin IS NOT NULL), '{}')
		FROM pg_type t WHERE t.oid = $1`,
		[]any{oid}, &t.name, &t.kind, &t.base, &t.element, &t.rangeOf, &t.input, &t.inputVolatility, &t.labels, &t.checks)
	return t
}

// base returns the type below all domains.
func (s *server) base(oid uint32) *typeInfo {
	t := s.typ(oid)
	for t.kind == "d" && t.base != 0 && s.err == nil {
		t = s.typ(t.base)
	}
	return t
}

func (s *server) operator(oid uint32) *operator {
	if o := s.operators[oid]; o != nil {
		return o
	}
	o := &operator{oid: oid}
	s.operators[oid] = o
	s.row("an operator", `
		SELECT o.oprname, o.oprcode::oid, o.oprleft, o.oprright, o.oprnegate,
		       coalesce((SELECT min(a.amopstrategy) FROM pg_amop a WHERE a.amopopr = o.oid
		         AND a.amopmethod = (SELECT oid FROM pg_am WHERE amname = 'btree')
		         AND a.amopfamily IN (SELECT opcfamily FROM pg_opclass WHERE opcdefault AND opcmethod = a.amopmethod)), 0)
		FROM pg_operator o WHERE o.oid = $1`,
		[]any{oid}, &o.name, &o.function, &o.left, &o.right, &o.negator, &o.strategy)
	return o
}

// deterministic reports whether a collation calls two texts equal only if
// their bytes are; no collation does so too.
func (s *server) deterministic(oid uint32) bool {
	if oid == 0 {
		return true
	}
	if d, ok := s.collation[oid]; ok {
		return d
	}
	var d bool
	s.row("a collation", `SELECT collisdeterministic FROM pg_collation WHERE oid = $1`, []any{oid}, &d)
	s.collation[oid] = d
	return d
}

func (s *server) roleByID(oid uint32) *roleInfo {
	if r := s.roles[oid]; r != nil {
		return r
	}
	r := &roleInfo{}
	s.roles[oid] = r
	s.row("a role", `SELECT rolsuper, rolbypassrls FROM pg_roles WHERE oid = $1`, []any{oid}, &r.superuser, &r.bypass)
	return r
}

// secured reports whether row security applies when role reads r, by the rule
// of check_enable_rls.
func (s *server) secured(r *relation, role uint32) bool {
	if !r.rowSecurity {
		return false
	}
	if who := s.roleByID(role); who.superuser || who.bypass {
		return false
	}
	var owner bool
	s.row("a role", `SELECT pg_has_role($1::oid, $2::oid, 'USAGE')`, []any{role, r.owner}, &owner)
	return !owner || r.forceRowSecurity
}

// enumLabel returns the label of one enum value.
func (s *server) enumLabel(oid uint32) (string, bool) {
	var label string
	ok := s.row("an enum label", `SELECT enumlabel::text FROM pg_enum WHERE oid = $1`, []any{oid}, &label)
	return label, ok
}
