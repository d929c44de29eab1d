package query

import (
	"github.com/tidemarkdb/tidemark/internal/match"
)

// condition is a WHERE or ON clause as far as tidemark follows it. It is
// compiled once, and folded with the parameters of each answer.
type condition struct {
	kind conditionKind
	args []*condition
	col  *columnRef
	// other is the second column of a condJoin or condAmong. What is known of one column goes
	// for the other, if the clause filters that one's rows.
	other                    *columnRef
	filtersCol, filtersOther bool
	// strategy is the comparison, seen from left to right: column or left,
	// strategy, right.
	strategy    int
	left, right *scalar
	literal     truth
}

type conditionKind byte

const (
	condUnknown conditionKind = iota
	condLiteral
	condAnd
	condOr
	condNot
	condIsTrue     // args[0] IS TRUE
	condColumn     // a boolean column
	condCompare    // col strategy right
	condIn         // col = ANY (right)
	condColumnNull // col IS NULL; literal truthFalse means IS NOT NULL
	condValue      // left is a boolean
	condValues     // left strategy right
	condValueIn    // left = ANY (right)
	condValueNull  // left IS NULL
	condCase       // args: condition, result, ..., default
	condJoin       // col = other
	condAmong      // col = other for some row of a nested query
	condLike       // col LIKE right
	condStarts     // col begins with right
	condElement    // right = ANY (col)
	condContains   // col @> right
	condOverlaps   // col && right
)

// truth is a value of SQL's three-valued logic.
type truth byte

const (
	truthNull truth = iota
	truthFalse
	truthTrue
)

// columnRef is a column of a base table that a condition is about.
type columnRef struct {
	ref   int // index of the table reference
	name  string
	typ   uint32 // declared type
	base  uint32 // below domains
	class match.Class
	part  match.Part // of the column; base and class are those of the part
	// nullable says that an outer join can replace the column by null: only
	// conditions that null does not pass then say something about its rows.
	nullable bool
	// shared says that the rows are those of a WITH query that is read in several
	// places: two mentions can be of two rows.
	shared bool
}

// scope resolves variables while a condition is compiled: the entries that
// the condition filters, and whether an outer join in between makes their
// columns nullable. It may mention others of the level without filtering them:
// the left side of a left join.
type scope struct {
	level   *level
	entries map[int]bool
}

// The strategies of btree.
const (
	btreeLess = 1 + iota
	btreeLessEqual
	btreeEqual
	btreeGreaterEqual
	btreeGreater
)

func unknown() *condition { return &condition{} }

// condition compiles an expression of type boolean.
func (a *analysis) condition(sc scope, n *node) *condition {
	if n == nil {
		return &condition{kind: condLiteral, literal: truthTrue}
	}
	f := sc.level.frame
	switch n.Tag {
	case "BOOLEXPR":
		c := &condition{kind: condAnd}
		switch n.Str("boolop") {
		case "or":
			c.kind = condOr
		case "not":
			c.kind = condNot
		case "and":
		default:
			return unknown()
		}
		for _, arg := range n.Nodes("args") {
			c.args = append(c.args, a.condition(sc, arg))
		}
		return c
	case "OPEXPR":
		return a.comparison(sc, n)
	case "ROWCOMPAREEXPR":
		return a.rowComparison(sc, n)
	case "SCALARARRAYOPEXPR":
		return a.anyOf(sc, n)
	case "NULLTEST":
		return a.nullTest(sc, n)
	case "BOOLEANTEST":
		// 0 IS TRUE, 2 IS FALSE (BoolTestType)
		arg := a.condition(sc, n.Child("arg"))
		switch n.Int("booltesttype") {
		case 0:
			return &condition{kind: condIsTrue, args: []*condition{arg}}
		case 2:
			return &condition{kind: condIsTrue, args: []*condition{not(arg)}}
		}
	case "CASEEXPR":
		return a.caseOf(sc, n)
	case "SUBLINK":
		return a.sublink(sc, n)
	case "FUNCEXPR":
		if c := a.startsWith(sc, n); c != nil {
			return c
		}
		fallthrough
	default:
		if s := a.scalar(f, n); s != nil && s.typ == oidBool {
			return &condition{kind: condValue, left: s}
		}
		if col := a.column(sc, n); col != nil && col.base == oidBool {
			return &condition{kind: condColumn, col: col}
		}
	}
	return unknown()
}

// column resolves a bare column that the condition filters, or a member of a
// jsonb one, or returns nil.
func (a *analysis) column(sc scope, n *node) *columnRef {
	if col := a.member(sc, n); col != nil {
		return col
	}
	if n = a.variableOf(n); n == nil || n.Int("varlevelsup") != 0 {
		return nil
	}
	return a.resolve(sc.level, sc.entries, n.Int("varno"), n.Int("varattno"))
}

// anyColumn resolves a bare column, and says whether the condition filters it.
// It may be one of a query further out: what is nested runs for each of its
// rows, and has no effect through a row that takes no part.
func (a *analysis) anyColumn(sc scope, n *node) (col *columnRef, filtered bool) {
	if col := a.column(sc, n); col != nil {
		return col, true
	}
	if sub := sc.level.nested(n, sublinkValue); sub != nil {
		return a.output(sub, 1), false
	}
	if n = a.variableOf(n); n == nil {
		return nil, false
	}
	if at := sc.level.up(n.Int("varlevelsup")); at != nil {
		return a.source(at, n.Int("varno"), n.Int("varattno")), false
	}
	return nil, false
}

// variableOf returns the variable that an expression is, if it is nothing else.
func (a *analysis) variableOf(n *node) *node {
	for n != nil {
		switch n.Tag {
		case "VAR":
			return n
		case "RELABELTYPE":
			arg := n.Child("arg")
			if !sameText(a.srv.base(resultType(arg)).oid, a.srv.base(n.OID("resulttype")).oid) {
				return nil
			}
			n = arg
		case "COLLATEEXPR":
			// The operator's own collation is what counts.
			n = n.Child("arg")
		default:
			return nil
		}
	}
	return nil
}

// strategy returns the btree strategy of a comparison that tidemark
// reproduces, or 0.
func (a *analysis) strategy(n *node) int {
	op := a.srv.operator(n.OID("opno"))
	if op.oid >= firstUserOID || !a.srv.deterministic(n.OID("inputcollid")) {
		return 0
	}
	return op.strategy
}

// unequal reports whether an operator is <> of an equality that tidemark
// reproduces: true where that is false, and null where that is null.
func (a *analysis) unequal(n *node) bool {
	op := a.srv.operator(n.OID("opno"))
	if op.oid >= firstUserOID || op.negator == 0 || !a.srv.deterministic(n.OID("inputcollid")) {
		return false
	}
	equality := a.srv.operator(op.negator)
	return equality.oid < firstUserOID && equality.strategy == btreeEqual
}

func not(c *condition) *condition { return &condition{kind: condNot, args: []*condition{c}} }

func mirrored(strategy int) int { return btreeLess + btreeGreater - strategy }

// compares reports whether a column compares with a value by the rules of
// their class.
func compares(colClass match.Class, colType uint32, valueClass match.Class, valueType uint32, strategy int) bool {
	if colClass == match.ClassNone || colClass != valueClass {
		return false
	}
	if strategy != btreeEqual && !colClass.Ordered() {
		return false
	}
	switch colClass {
	case match.ClassFloat:
		// The shortest text of a real is not unique between programs.
		return colType == oidFloat8 && valueType == oidFloat8
	case match.ClassTime, match.ClassBPChar:
		return colType == valueType
	}
	return true
}

func (a *analysis) comparison(sc scope, n *node) *condition {
	if c := a.containment(sc, n); c != nil {
		return c
	}
	if a.unequal(n) {
		return not(a.compared(sc, n, btreeEqual))
	}
	return a.compared(sc, n, a.strategy(n))
}

// compared compiles a comparison that is of a strategy, or the negation of one.
func (a *analysis) compared(sc scope, n *node, strategy int) *condition {
	args := n.Nodes("args")
	if strategy == 0 || len(args) != 2 {
		return unknown()
	}
	left, right := a.scalar(sc.level.frame, args[0]), a.scalar(sc.level.frame, args[1])
	switch {
	case left != nil && right != nil:
		if left.elem == 0 && right.elem == 0 && compares(left.class, left.typ, right.class, right.typ, strategy) {
			return &condition{kind: condValues, left: left, strategy: strategy, right: right}
		}
	case right != nil:
		if c := a.textRange(sc, n, args[0], strategy, right); c != nil {
			return c
		}
		return a.compare(a.column(sc, args[0]), strategy, right)
	case left != nil:
		if c := a.textRange(sc, n, args[1], mirrored(strategy), left); c != nil {
			return c
		}
		return a.compare(a.column(sc, args[1]), mirrored(strategy), left)
	case strategy == btreeEqual:
		c := &condition{kind: condJoin}
		c.col, c.filtersCol = a.anyColumn(sc, args[0])
		c.other, c.filtersOther = a.anyColumn(sc, args[1])
		if args[0].Tag == "SUBLINK" || args[1].Tag == "SUBLINK" {
			c.kind = condAmong
		}
		if c.joins() {
			return c
		}
	}
	return unknown()
}

// joins reports whether a condJoin or condAmong compares columns that it may.
func (c *condition) joins() bool {
	return c.col != nil && c.other != nil && compares(c.col.class, c.col.base, c.other.class, c.other.base, btreeEqual)
}

// rowComparison compiles (a, b) < (x, y), of which a <= x follows.
func (a *analysis) rowComparison(sc scope, n *node) *condition {
	ops, left, right := n.Get("opnos").Ints, n.Nodes("largs"), n.Nodes("rargs")
	if len(ops) == 0 || len(left) != len(ops) || len(right) != len(ops) {
		return unknown()
	}
	op := a.srv.operator(uint32(ops[0]))
	strategy := map[int]int{
		btreeLess: btreeLessEqual, btreeLessEqual: btreeLessEqual,
		btreeGreaterEqual: btreeGreaterEqual, btreeGreater: btreeGreaterEqual,
	}[op.strategy]
	if strategy == 0 || op.oid >= firstUserOID {
		return unknown()
	}
	var c *condition
	if s := a.scalar(sc.level.frame, right[0]); s != nil {
		c = a.compare(a.column(sc, left[0]), strategy, s)
	} else if s := a.scalar(sc.level.frame, left[0]); s != nil {
		c = a.compare(a.column(sc, right[0]), mirrored(strategy), s)
	} else {
		return unknown()
	}
	return &condition{kind: condAnd, args: []*condition{c, unknown()}}
}

func (a *analysis) compare(col *columnRef, strategy int, value *scalar) *condition {
	if col == nil || value.elem != 0 {
		return unknown()
	}
	// timestamptz against date is compared at midnight, UTC.
	if col.class == match.ClassTime && value.typ == oidDate {
		value = a.cast(value, col.base)
		value.midnight = true
	}
	if !compares(col.class, col.base, value.class, value.typ, strategy) {
		return unknown()
	}
	return &condition{kind: condCompare, col: col, strategy: strategy, right: value}
}

// anyOf compiles x = ANY (array) and x <> ALL (array), which IN and NOT IN lists
// are too.
func (a *analysis) anyOf(sc scope, n *node) *condition {
	args := n.Nodes("args")
	switch any := n.Bool("useOr"); {
	case len(args) != 2:
	case any && a.strategy(n) == btreeEqual:
		return a.listed(sc, args)
	case !any && a.unequal(n):
		return not(a.listed(sc, args))
	}
	return unknown()
}

// listed compiles args[0] = ANY (args[1]).
func (a *analysis) listed(sc scope, args []*node) *condition {
	list := a.scalar(sc.level.frame, args[1])
	if sub := sc.level.nested(args[1], sublinkArray); sub != nil {
		return &condition{kind: condAnd, args: []*condition{a.among(sc, args[0], sub, 1), unknown()}}
	}
	if list == nil {
		return a.element(sc, args[0], args[1])
	}
	if list.elem == 0 {
		return unknown()
	}
	if left := a.scalar(sc.level.frame, args[0]); left != nil {
		if left.elem == 0 && compares(left.class, left.typ, list.class, list.elem, btreeEqual) {
			return &condition{kind: condValueIn, left: left, right: list}
		}
		return unknown()
	}
	col := a.column(sc, args[0])
	if col == nil || !compares(col.class, col.base, list.class, list.elem, btreeEqual) {
		return unknown()
	}
	return &condition{kind: condIn, col: col, right: list}
}

func (a *analysis) nullTest(sc scope, n *node) *condition {
	if n.Bool("argisrow") {
		return unknown()
	}
	c := &condition{literal: truthTrue}
	if n.Int("nulltesttype") == 1 {
		c.literal = truthFalse
	}
	arg := n.Child("arg")
	if s := a.scalar(sc.level.frame, arg); s != nil {
		c.kind, c.left = condValueNull, s
		return c
	}
	if col := a.column(sc, arg); col != nil && col.class != match.ClassNone {
		c.kind, c.col = condColumnNull, col
		return c
	}
	return unknown()
}

// caseOf compiles CASE WHEN ... without an operand.
func (a *analysis) caseOf(sc scope, n *node) *condition {
	if n.Child("arg") != nil {
		return unknown()
	}
	c := &condition{kind: condCase}
	for _, when := range n.Nodes("args") {
		c.args = append(c.args, a.condition(sc, when.Child("expr")), a.condition(sc, when.Child("result")))
	}
	if n.Child("defresult") == nil {
		c.args = append(c.args, &condition{kind: condLiteral})
	} else {
		c.args = append(c.args, a.condition(sc, n.Child("defresult")))
	}
	return c
}
