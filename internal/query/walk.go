package query

import (
	"fmt"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// maxLevels bounds how many queries one endpoint may be made of, after views
// and functions are expanded.
const maxLevels = 2000

// analysis is the walk over one endpoint: everything that its query and the
// views, functions and policies behind it mention. It belongs to one call of
// Analyze.
type analysis struct {
	srv      *server
	file     *File
	refusals []refusal

	refs   []*tableRef // in the order of discovery
	levels []*level

	tables    map[uint32]*relation // base tables with all that is below them
	relations map[uint32]bool      // tables and views, by oid
	functions map[uint32]bool
	types     map[uint32]bool
	names     map[string]bool // of all functions called, built-in ones too

	coercions []coercion // of what parameters decide

	stack     []uint32 // SQL functions being analysed
	recursive map[uint32]bool
	quiet     int // > 0 inside an output column that nobody reads

	// within is the conjunct of a WHERE or ON clause that is being walked, and
	// inside what each of them mentions, and how often.
	within *conjunct
	inside map[conjunct]map[mention]int
	// tested counts the mentions in conjuncts that tests can say in full.
	tested  map[mention]int
	levelOf map[*entry]*level
	// sublinks are the kinds of the queries in expressions.
	sublinks map[conjunct]int
}

// conjunct is one of the conditions that a clause joins with AND. A view that is
// read twice has the same nodes in two levels.
type conjunct struct {
	level *level
	node  *node
}

// mention is a column of a range table entry.
type mention struct {
	entry *entry
	attno int
}

// refusal is a reason why an endpoint cannot be cached until a row changes.
// Soft ones can be accepted with volatile: ok.
type refusal struct {
	Problem
	soft bool
}

// frame is where a tree comes from: the endpoint's own statement, a view, a
// function or a policy.
type frame struct {
	own    bool   // the endpoint's own statement
	prefix int    // bytes before its SQL in the text that locations count
	via    string // "view public.v", or ""
	view   uint32 // the view whose rule this is
	line   int    // where the endpoint mentions the outermost of them
	column int

	reader uint32 // the role whose rights and policies apply to tables
	user   uint32 // the role that functions called from here run as
	policy bool
	// params are the values of $1, $2 ...; a function's are its arguments.
	params []*scalar
	clock  bool // a constant of a date or time type was seen
}

// level is one query: the endpoint's, or one nested in it.
type level struct {
	frame   *frame
	parent  *level
	query   *node // nil for the level of a lone expression
	entries []*entry
	owner   *entry            // whose subquery or view this is
	subs    map[*node]*level  // queries nested in expressions and FROM
	ctes    map[string]*level // WITH queries that are read in one place
	with    map[string]*level // all WITH queries that are not recursive
	// top holds, after plan, the entries of FROM by their number, and whether an
	// outer join can replace their rows by nulls.
	top map[int]bool
}

// entry is one range table entry and what of it is read.
type entry struct {
	node *node
	kind int
	all  bool
	used map[int]int // how often a column is mentioned
	ref  *tableRef   // a base table
	sub  *level      // a view or subquery
}

// tableRef is one reference to a base table.
type tableRef struct {
	index  int
	rel    *relation
	entry  *entry
	reader uint32 // the role whose rights apply
	tables []uint32
	// loose says that no condition narrows it: why is for Explain.
	loose bool
	why   string
}

func (e *entry) read(attno int) {
	if attno <= 0 {
		e.all = true
		return
	}
	if e.used == nil {
		e.used = map[int]int{}
	}
	e.used[attno]++
}

// needed returns the columns that are read, for query; nil means all.
func (e *entry) needed() map[int]bool {
	if e.all {
		return nil
	}
	out := map[int]bool{}
	for attno := range e.used {
		out[attno] = true
	}
	return out
}

// refuse records a refusal. loc is a node's :location, or -1; name is what to
// look for in the file where there is no location.
func (a *analysis) refuse(f *frame, soft bool, loc int, name, hint, format string, args ...any) {
	line, col := a.where(f, loc, name)
	msg := fmt.Sprintf(format, args...)
	if f.via != "" {
		msg += " (in " + f.via + ")"
	}
	a.refusals = append(a.refusals, refusal{
		soft:    soft,
		Problem: Problem{File: a.file.Path, Line: line, Column: col, Message: msg, Hint: hint},
	})
}

func (a *analysis) where(f *frame, loc int, name string) (line, column int) {
	switch {
	case !f.own:
		return f.line, f.column
	case loc >= f.prefix && loc-f.prefix < len(a.file.SQL):
		return a.file.Position(loc - f.prefix)
	}
	return a.file.mention(name)
}

// queries walks every query of a body or rule.
func (a *analysis) queries(v nodetree.Value, f *frame) {
	nodetree.Each(v, func(n *node) {
		if n.Tag == "QUERY" {
			a.query(n, nil, f, nil)
		} else {
			a.node(&level{frame: f}, n)
		}
	})
}

// query walks one query. needed are the output columns that the query around
// it reads; nil means all.
func (a *analysis) query(q *node, parent *level, f *frame, needed map[int]bool) *level {
	l := &level{frame: f, parent: parent, query: q, ctes: map[string]*level{}, with: map[string]*level{}, subs: map[*node]*level{}}
	if parent != nil && parent.subs != nil {
		parent.subs[q] = l
	}
	if len(a.levels) >= maxLevels {
		a.refuse(f, false, -1, "", "split it up", "the query is made of more than %d queries, with its views and functions", maxLevels)
		return l
	}
	a.levels = append(a.levels, l)
	around := a.within
	a.within = nil
	defer func() { a.within = around }()
	a.statement(l)
	for _, n := range q.Nodes("rtable") {
		e := &entry{node: n, kind: n.Int("rtekind")}
		l.entries = append(l.entries, e)
		a.levelOf[e] = l
	}
	whole := needed == nil || q.Bool("hasTargetSRFs") || q.Child("setOperations") != nil
	for _, te := range q.Nodes("targetList") {
		unread := !whole && !needed[te.Int("resno")] && !te.Bool("resjunk") && te.Int("ressortgroupref") == 0
		if unread {
			a.quiet++
		}
		a.node(l, te)
		if unread {
			a.quiet--
		}
	}
	if q.Child("setOperations") != nil {
		// The arms are entries of the range table that no expression mentions.
		for _, e := range l.entries {
			e.all = true
		}
	}
	for _, field := range q.Fields {
		switch field.Name {
		case "rtable", "targetList", "cteList", "rteperminfos", "rowMarks":
		default:
			a.visit(l, field.Value)
		}
	}
	// Later entries may read earlier ones (LATERAL), never the other way round:
	// backwards, what is read of an entry is known when its turn comes.
	for i := len(l.entries) - 1; i >= 0; i-- {
		a.entry(l, l.entries[i])
	}
	for _, cte := range q.Nodes("cteList") {
		body := cte.Child("ctequery")
		if body == nil {
			continue
		}
		sub := a.query(body, l, f, nil)
		if !cte.Bool("cterecursive") {
			l.with[cte.Str("ctename")] = sub
			if cte.Int("cterefcount") == 1 {
				l.ctes[cte.Str("ctename")] = sub
			}
		}
		a.visit(l, cte.Get("search_clause"))
		a.visit(l, cte.Get("cycle_clause"))
	}
	return l
}

const notSelect = "the statement is not a SELECT"

// statement refuses queries that do more than read.
func (a *analysis) statement(l *level) {
	q, f := l.query, l.frame
	if q.Int("commandType") != 1 || q.Child("utilityStmt") != nil {
		a.refuse(f, false, -1, "", "an endpoint reads; write with your application", notSelect)
	}
	if q.Bool("hasModifyingCTE") {
		a.refuse(f, false, -1, "with", "an endpoint reads; write with your application", "a WITH clause changes rows")
	}
	if len(q.Nodes("rowMarks")) > 0 || q.Bool("hasForUpdate") {
		a.refuse(f, false, -1, "for", "leave the FOR clause out", "FOR UPDATE and FOR SHARE lock rows")
	}
}

func (a *analysis) visit(l *level, v nodetree.Value) {
	nodetree.Each(v, func(n *node) { a.node(l, n) })
}

func (a *analysis) children(l *level, n *node) {
	for _, field := range n.Fields {
		a.visit(l, field.Value)
	}
}

// quals walks a WHERE or ON clause, one conjunct after the other.
func (a *analysis) quals(l *level, n *node) {
	around := a.within
	for _, c := range conjuncts(n) {
		a.within = &conjunct{l, c}
		a.node(l, c)
	}
	a.within = around
}

// conjuncts returns what a clause joins with AND.
func conjuncts(n *node) []*node {
	switch {
	case n == nil:
		return nil
	case n.Tag != "BOOLEXPR" || n.Str("boolop") != "and":
		return []*node{n}
	}
	var out []*node
	for _, arg := range n.Nodes("args") {
		out = append(out, conjuncts(arg)...)
	}
	return out
}

// up returns the level that a variable with varlevelsup n belongs to.
func (l *level) up(n int) *level {
	for ; n > 0 && l != nil; n-- {
		l = l.parent
	}
	return l
}

// lookup returns the entry with a number of the range table, from 1.
func (l *level) lookup(number int) *entry {
	if l == nil || number < 1 || number > len(l.entries) {
		return nil
	}
	return l.entries[number-1]
}

// variable notes that a column is read.
func (a *analysis) variable(l *level, n *node) {
	at := l.up(n.Int("varlevelsup"))
	e := at.lookup(n.Int("varno"))
	attno := n.Int("varattno")
	if e == nil {
		a.refuse(l.frame, false, n.Int("location"), "", "", "tidemark cannot tell which column is meant here")
		return
	}
	if a.quiet > 0 {
		return
	}
	if e.kind == rteJoin {
		// The join's own columns are those that USING merged: what they are made
		// of is written in the entry.
		vars := e.node.List("joinaliasvars")
		if attno >= 1 && attno <= len(vars) {
			a.visit(at, vars[attno-1])
			return
		}
		for _, other := range at.entries {
			other.all = true
		}
		return
	}
	e.read(attno)
	if a.within != nil {
		if a.inside[*a.within] == nil {
			a.inside[*a.within] = map[mention]int{}
		}
		a.inside[*a.within][mention{e, attno}]++
	}
}

// entry walks one range table entry.
func (a *analysis) entry(l *level, e *entry) {
	n, f := e.node, l.frame
	switch e.kind {
	case rteRelation:
		if sample := n.Child("tablesample"); sample != nil {
			a.refuse(f, true, -1, "tablesample", volatileHint, "TABLESAMPLE %s", reasonStored)
			a.visit(l, sample.Get("args"))
			a.visit(l, sample.Get("repeatable"))
		}
		a.relation(l, e)
	case rteSubquery:
		if sub := n.Child("subquery"); sub != nil {
			e.sub = a.query(sub, l, f, e.needed())
			e.sub.owner = e
		}
	case rteFunction:
		a.visit(l, n.Get("functions"))
	case rteTableFunc:
		a.visit(l, n.Get("tablefunc"))
	case rteValues:
		a.visit(l, n.Get("values_lists"))
	case rteGroup:
		a.visit(l, n.Get("groupexprs"))
	case rteJoin, rteResult:
	case rteCTE:
		if at := l.up(n.Int("ctelevelsup")); at == nil {
			a.refuse(f, false, -1, n.Str("ctename"), "", "tidemark cannot tell which WITH query %s is", n.Str("ctename"))
		}
	default:
		a.refuse(f, false, -1, "", "", "the FROM clause holds something that tidemark does not know (kind %d)", e.kind)
	}
}

// oid converts a catalog id for the packages that share the type.
func oids(in []uint32) []catalog.OID {
	out := make([]catalog.OID, len(in))
	for i, o := range in {
		out[i] = catalog.OID(o)
	}
	return out
}
