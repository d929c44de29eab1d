package query

import "github.com/tidemarkdb/tidemark/internal/query/nodetree"

type (
	node      = nodetree.Node
	nodeValue = nodetree.Value
)

// Object ids of built-in types that the analysis has to know.
const (
	oidBool        = 16
	oidName        = 19
	oidInt8        = 20
	oidInt2        = 21
	oidInt4        = 23
	oidText        = 25
	oidOID         = 26
	oidJSON        = 114
	oidXML         = 142
	oidFloat4      = 700
	oidFloat8      = 701
	oidMoney       = 790
	oidBPChar      = 1042
	oidVarchar     = 1043
	oidTextArray   = 1009
	oidDate        = 1082
	oidTime        = 1083
	oidTimestamp   = 1114
	oidTimestamptz = 1184
	oidInterval    = 1186
	oidTimetz      = 1266
	oidNumeric     = 1700
	oidUUID        = 2950
	oidJSONB       = 3802
	oidRegconfig   = 3734
	oidRegdict     = 3769
)

// defaultCollation is that of the database.
const defaultCollation = 100

// Kinds of range table entries (RTEKind).
const (
	rteRelation  = 0
	rteSubquery  = 1
	rteJoin      = 2
	rteFunction  = 3
	rteTableFunc = 4
	rteValues    = 5
	rteCTE       = 6
	rteTuples    = 7
	rteResult    = 8
	rteGroup     = 9
)

// Kinds of joins (JoinType).
const (
	joinInner = 0
	joinLeft  = 1
	joinFull  = 2
	joinRight = 3
)

// plainTags are the nodes that mean nothing beyond their parts.
func plainTag(tag string) bool {
	switch tag {
	case "ALIAS", "ARRAYEXPR", "ARRAYCOERCEEXPR", "BOOLEANTEST", "BOOLEXPR", "CASEEXPR", "CASETESTEXPR",
		"CASEWHEN", "COALESCEEXPR", "COERCETODOMAINVALUE", "COLLATEEXPR", "CONST", "CONVERTROWTYPEEXPR",
		"CTECYCLECLAUSE", "CTESEARCHCLAUSE", "FIELDSELECT", "FIELDSTORE", "FROMEXPR", "GROUPINGFUNC", "GROUPINGSET",
		"JOINEXPR", "JSONBEHAVIOR", "JSONCONSTRUCTOREXPR", "JSONFORMAT", "JSONISPREDICATE", "JSONTABLEPATH",
		"JSONTABLEPATHSCAN", "JSONTABLESIBLINGJOIN", "JSONVALUEEXPR", "MINMAXEXPR", "NAMEDARGEXPR", "NULLTEST",
		"PARAM", "RANGETBLFUNCTION", "RANGETBLREF", "RELABELTYPE", "ROWEXPR", "SETOPERATIONSTMT", "SUBLINK",
		"SUBSCRIPTINGREF", "TARGETENTRY", "WINDOWFUNCRUNCONDITION":
		return true
	}
	return false
}

// resultType returns the type of an expression, or 0 where the node does not
// say so itself.
func resultType(n *node) uint32 {
	if n == nil {
		return 0
	}
	for _, field := range [...]string{
		"vartype", "paramtype", "consttype", "funcresulttype", "opresulttype", "resulttype",
		"aggtype", "wintype", "casetype", "coalescetype", "minmaxtype", "array_typeid", "row_typeid", "refrestype", "typeId",
	} {
		if oid := n.OID(field); oid != 0 {
			return oid
		}
	}
	switch n.Tag {
	case "BOOLEXPR", "NULLTEST", "BOOLEANTEST", "SCALARARRAYOPEXPR", "DISTINCTEXPR", "ROWCOMPAREEXPR":
		return oidBool
	case "COLLATEEXPR", "NAMEDARGEXPR":
		return resultType(n.Child("arg"))
	case "SQLVALUEFUNCTION":
		return n.OID("type")
	}
	return 0
}

// isClockType reports types whose input accepts words such as now.
func isClockType(oid uint32) bool {
	switch oid {
	case oidDate, oidTime, oidTimetz, oidTimestamp, oidTimestamptz:
		return true
	}
	return false
}

// isNameType reports the object-reference types, which are shown by a name
// from the catalogs. Text search configurations are constants in practice.
func isNameType(oid uint32) bool {
	switch oid {
	case 24, 2202, 2203, 2204, 2205, 2206, 4089, 4096, 4191:
		return true
	}
	return false
}
