package query

import "github.com/tidemarkdb/tidemark/internal/query/nodetree"

const volatileHint = "pass the value as a parameter, or accept it until a ttl with -- volatile: ok"

// node walks one expression or clause.
func (a *analysis) node(l *level, n *node) {
	f, loc := l.frame, n.Int("location")
	if n.Tag != "CONST" && n.Tag != "PARAM" {
		if typ := resultType(n); isNameType(typ) {
			a.refuse(f, true, loc, "", volatileHint, reasonShownByName, a.srv.typ(typ).name)
		}
	}
	switch n.Tag {
	case "QUERY":
		a.query(n, l, f, nil)
		return
	case "FROMEXPR", "JOINEXPR":
		for _, field := range n.Fields {
			if field.Name != "quals" {
				a.visit(l, field.Value)
			}
		}
		a.quals(l, n.Child("quals"))
		return
	case "SUBLINK":
		a.sublinks[conjunct{l, n.Child("subselect")}] = n.Int("subLinkType")
	case "VAR":
		a.variable(l, n)
		return
	case "CONST":
		if a.clockType(n.OID("consttype")) {
			f.clock = true
		}
		return
	case "FUNCEXPR":
		a.call(l, n.OID("funcid"), n.List("args"), loc)
	case "AGGREF":
		a.call(l, n.OID("aggfnoid"), nil, loc)
	case "WINDOWFUNC":
		a.call(l, n.OID("winfnoid"), nil, loc)
	case "OPEXPR", "DISTINCTEXPR", "NULLIFEXPR", "SCALARARRAYOPEXPR":
		a.operator(l, n.OID("opno"), loc)
	case "ROWCOMPAREEXPR":
		for _, op := range n.Get("opnos").Ints {
			a.operator(l, uint32(op), loc)
		}
	case "SORTGROUPCLAUSE":
		a.operator(l, n.OID("eqop"), -1)
		a.operator(l, n.OID("sortop"), -1)
	case "WINDOWCLAUSE":
		a.call(l, n.OID("startInRangeFunc"), nil, -1)
		a.call(l, n.OID("endInRangeFunc"), nil, -1)
	case "COERCEVIAIO":
		a.coercion(f, n)
		a.conversion(l, n, loc)
	case "COERCETODOMAIN":
		a.coercion(f, n)
		a.domain(l, n.OID("resulttype"))
	case "SQLVALUEFUNCTION":
		a.sqlValue(l, n.Int("op"), loc)
	case "NEXTVALUEEXPR":
		a.refuse(f, true, loc, "nextval", volatileHint, "a sequence's next value %s", reasonSequence)
	case "XMLEXPR":
		a.refuse(f, true, loc, "", volatileHint, "an XML expression %s", reasonLocale)
	case "JSONEXPR":
		if r := n.Child("returning"); r != nil {
			a.input(l, r.OID("typid"), loc)
		}
	case "JSONRETURNING":
		return
	case "TABLEFUNC":
		// functype is missing before Postgres 17, when XMLTABLE was the only one.
		if n.Int("functype") == 0 {
			a.refuse(f, true, loc, "xmltable", volatileHint, "XMLTABLE %s", reasonLocale)
		}
		for _, typ := range n.Get("coltypes").Ints {
			a.input(l, uint32(typ), loc)
		}
	case "RANGETBLFUNCTION":
		a.recordColumns(l, n)
	case "CURRENTOFEXPR":
		a.refuse(f, false, loc, "", "", "WHERE CURRENT OF needs a cursor")
	default:
		if !plainTag(n.Tag) {
			a.refuse(f, true, loc, "", volatileHint, "the query has a construct that tidemark does not know (%s)", n.Tag)
		}
	}
	a.children(l, n)
}

// clockType reports a type whose constants may come from a word such as now,
// which Postgres turns into a moment when it reads the query.
func (a *analysis) clockType(oid uint32) bool {
	if oid == 0 || isClockType(oid) {
		return oid != 0
	}
	if oid < firstUserOID {
		switch oid {
		case oidBool, oidInt2, oidInt4, oidInt8, oidText, oidVarchar, oidBPChar, oidNumeric, oidFloat4, oidFloat8, oidUUID, oidJSON, oidJSONB, oidInterval, oidOID, oidName, 705:
			return false
		}
	}
	t := a.srv.base(oid)
	switch {
	case isClockType(t.oid), t.kind == "c":
		return true
	case t.element != 0:
		return a.clockType(t.element)
	case t.rangeOf != 0:
		return a.clockType(t.rangeOf)
	}
	return false
}

// sqlValue refuses CURRENT_DATE, CURRENT_USER and the like (SQLValueFunctionOp).
func (a *analysis) sqlValue(l *level, op, loc int) {
	names := [...]string{
		"current_date", "current_time", "current_time", "current_timestamp", "current_timestamp",
		"localtime", "localtime", "localtimestamp", "localtimestamp",
		"current_role", "current_user", "user", "session_user", "current_catalog", "current_schema",
	}
	name, reason := "this", reasonSession
	if op >= 0 && op < len(names) {
		name = names[op]
	}
	switch {
	case op <= 8:
		reason = reasonTime
	case op <= 12 && l.frame.policy:
		return // tidemark reads as one role
	}
	a.refuse(l.frame, true, loc, name, volatileHint, "%s %s", name, reason)
}

// operator judges the function behind an operator.
func (a *analysis) operator(l *level, oid uint32, loc int) {
	if oid == 0 {
		return
	}
	if op := a.srv.operator(oid); op.function != 0 {
		a.call(l, op.function, nil, loc)
	}
}

// conversion judges a cast that goes through the text form of a value.
func (a *analysis) conversion(l *level, n *node, loc int) {
	a.input(l, n.OID("resulttype"), loc)
	if arg := n.Child("arg"); arg != nil {
		if src := resultType(arg); src == oidMoney {
			a.refuse(l.frame, true, loc, "", volatileHint, "the text of money %s", reasonLocale)
		}
	}
}

// input refuses the conversion of text into types whose meaning of a text is
// not fixed.
func (a *analysis) input(l *level, oid uint32, loc int) {
	if reason := a.inputReason(oid, 0); reason != "" {
		hint := volatileHint
		if a.clockType(oid) {
			hint = "store the value in that type, or declare the parameter as it with :name::" + a.srv.typ(oid).name
		}
		a.refuse(l.frame, true, loc, "", hint, "a cast from text to %s %s", a.srv.typ(oid).name, reason)
	}
	a.domain(l, oid)
}

const reasonClockWords = "depends on the time where the text is a word such as now or today"

// inputReason says why the input function of a type may read one text in two
// ways, or returns "".
func (a *analysis) inputReason(oid uint32, depth int) string {
	if isClockType(oid) {
		return reasonClockWords
	}
	if isNameType(oid) {
		return reasonCatalog
	}
	t := a.srv.base(oid)
	switch {
	case depth > 8:
		return reasonUnvouched
	case t.oid != oid:
		return a.inputReason(t.oid, depth+1)
	case t.element != 0:
		return a.inputReason(t.element, depth+1)
	case t.rangeOf != 0:
		return a.inputReason(t.rangeOf, depth+1)
	case t.kind == "e", t.inputVolatility == "i", oid == oidInterval:
		return ""
	case oid == oidMoney, oid == oidXML:
		return reasonLocale
	case t.kind == "c":
		return reasonColumns
	}
	return reasonUnvouched
}

// domain walks the constraints of a domain.
func (a *analysis) domain(l *level, oid uint32) {
	for t := a.srv.typ(oid); t.kind == "d" && a.srv.err == nil; t = a.srv.typ(t.base) {
		if a.types[t.oid] {
			return
		}
		a.types[t.oid] = true
		for _, check := range t.checks {
			a.queries(a.srv.tree(check), a.below(l.frame, "the domain "+t.name, t.name))
		}
	}
}

// recordColumns judges the column types of json_to_record and the like.
func (a *analysis) recordColumns(l *level, n *node) {
	expr := n.Child("funcexpr")
	if expr == nil || expr.Tag != "FUNCEXPR" {
		return
	}
	if f := a.srv.function(expr.OID("funcid")); f.builtin() && hasWord(recordFunctions, f.name) {
		for _, typ := range n.Get("funccoltypes").Ints {
			a.input(l, uint32(typ), expr.Int("location"))
		}
	}
}

// below returns the frame of something that a query leads to.
func (a *analysis) below(f *frame, via, name string) *frame {
	sub := *f
	sub.own, sub.via, sub.params = false, via, nil
	sub.clock = false
	if f.own {
		sub.line, sub.column = a.where(f, -1, name)
	}
	return &sub
}

// values returns the arguments of a call as the body of the function sees
// them: those that a constant or parameter decides are known.
func (a *analysis) values(f *frame, args []nodetree.Value, n int) []*scalar {
	out := make([]*scalar, n)
	for i, arg := range args {
		at := i
		if arg.Node != nil && arg.Node.Tag == "NAMEDARGEXPR" {
			at = arg.Node.Int("argnumber")
		}
		if at >= 0 && at < n {
			out[at] = a.scalar(f, arg.Node)
		}
	}
	return out
}
