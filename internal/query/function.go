package query

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
)

// call judges one function, and walks its body where that is SQL.
func (a *analysis) call(l *level, oid uint32, args []nodetree.Value, loc int) {
	if oid == 0 || a.srv.err != nil {
		return
	}
	fn := a.srv.function(oid)
	a.names[fn.name] = true
	if fn.builtin() {
		a.builtin(l, fn, loc)
		return
	}
	a.functions[oid] = true
	a.queries(a.srv.tree(fn.defaults), a.below(l.frame, "the defaults of function "+fn.name, fn.name))
	for _, part := range fn.parts {
		a.call(l, part, nil, loc)
	}
	switch {
	case fn.kind == "a":
	case fn.language == "sql":
		a.sqlFunction(l, fn, args, loc)
	case fn.volatility == "i":
	default:
		kind := "STABLE"
		if fn.volatility == "v" {
			kind = "VOLATILE"
		}
		a.refuse(l.frame, true, loc, fn.name, "rewrite it in LANGUAGE sql, declare it IMMUTABLE if it reads no table and no setting, or accept it until a ttl with -- volatile: ok",
			"function %s is %s and written in %s: what it reads cannot be seen", fn.signature, kind, fn.language)
	}
}

func (a *analysis) builtin(l *level, fn *function, loc int) {
	switch {
	case fn.volatility == "i":
	case fn.volatility == "s" && (stableFunction(fn) || hasWord(recordFunctions, fn.name)):
	case l.frame.policy && hasWord("current_user session_user", fn.name):
		// tidemark reads as one role
	default:
		a.refuse(l.frame, true, loc, fn.name, volatileHint, "%s() %s", fn.name, refusalOf(fn))
	}
}

// sqlFunction walks the body of a function in LANGUAGE sql. Its label does not
// matter: what the body does is seen.
func (a *analysis) sqlFunction(l *level, fn *function, args []nodetree.Value, loc int) {
	if slices.Contains(a.stack, fn.oid) {
		// The body is being walked already, for other arguments than these.
		a.recursive[fn.oid] = true
		return
	}
	for _, c := range fn.config {
		if name, _, _ := strings.Cut(c, "="); hasWord("role session_authorization row_security", name) {
			a.refuse(l.frame, true, loc, fn.name, "leave it out", "function %s sets %s, so it does not read as its caller", fn.signature, name)
			return
		}
	}
	f := a.below(l.frame, "function "+fn.signature, fn.name)
	if l.frame.own && loc >= 0 {
		f.line, f.column = a.where(l.frame, loc, fn.name)
	}
	f.reader, f.policy = f.user, l.frame.policy
	if fn.definer {
		f.reader, f.user = fn.owner, fn.owner
	}
	f.params = a.values(l.frame, args, fn.inputs)
	body := a.srv.tree(fn.body)
	if fn.body == "" {
		var problem string
		body, problem = a.probeFunction(fn)
		if problem != "" {
			a.refuse(l.frame, true, loc, fn.name, "give it a body with BEGIN ATOMIC ... END",
				"function %s keeps its body as text, and Postgres cannot analyse it: %s", fn.signature, problem)
			return
		}
	}
	first := len(a.refs)
	a.stack = append(a.stack, fn.oid)
	a.queries(body, f)
	a.stack = a.stack[:len(a.stack)-1]
	if fn.body == "" && f.clock && clockWord(stringTokens(fn.source)) != "" {
		a.refuse(l.frame, true, loc, fn.name, volatileHint, "function %s has a constant that %s", fn.signature, reasonTime)
	}
	if a.recursive[fn.oid] {
		for _, ref := range a.refs[first:] {
			ref.loose, ref.why = true, "the function "+fn.name+" calls itself"
		}
	}
}

// probeFunction lets Postgres analyse a body that it keeps as text, as it would
// when the function is called: with the settings that the function makes.
func (a *analysis) probeFunction(fn *function) (nodetree.Value, string) {
	s := a.srv
	if s.err != nil {
		return nodetree.Value{}, ""
	}
	sp, err := s.tx.Begin(s.ctx)
	if err != nil {
		s.fail("a function's body", err)
		return nodetree.Value{}, ""
	}
	defer sp.Rollback(s.ctx) // undoes the function and the setting
	var text string
	err = func() error {
		for _, c := range fn.config {
			name, value, _ := strings.Cut(c, "=")
			if _, err := sp.Exec(s.ctx, `SELECT set_config($1, $2, true)`, name, value); err != nil {
				return err
			}
		}
		// The function keeps its own result: one with OUT parameters allows no
		// other.
		name := pgx.Identifier{"pg_temp", fn.name}.Sanitize()
		if err := s.exec("CREATE FUNCTION " + name + "(" + fn.arguments + ") RETURNS " + fn.result +
			" LANGUAGE sql BEGIN ATOMIC\n" + fn.source + "\n; END"); err != nil {
			return err
		}
		return sp.QueryRow(s.ctx, `
			SELECT coalesce(prosqlbody::text, '') FROM pg_proc
			WHERE pronamespace = pg_my_temp_schema() AND proname = $1`, fn.name).Scan(&text)
	}()
	if msg, server := serverMessage(err); server {
		return nodetree.Value{}, msg
	}
	if err != nil {
		s.fail("a function's body", err)
		return nodetree.Value{}, ""
	}
	v, err := nodetree.Parse(text)
	if err != nil {
		s.fail("a function's body", err)
	}
	normalise(v)
	return v, ""
}

// stringTokens returns the string constants of SQL text.
func stringTokens(sql string) []token {
	var out []token
	for l := newLexer(sql); ; {
		t, ok := l.next()
		if !ok {
			return out
		}
		if t.kind == tokenString {
			out = append(out, t)
		}
	}
}

// clockWord returns the first constant that the date and time types read as a
// moment relative to now: such a word alone, or with a time of day or zone.
func clockWord(strs []token) string {
	for _, t := range strs {
		special := false
		words := strings.FieldsFunc(strings.ToLower(t.text), func(r rune) bool { return r < 'a' || r > 'z' })
		for _, w := range words {
			switch w {
			case "now", "today", "tomorrow", "yesterday":
				special = true
				continue
			case "allballs", "utc", "gmt", "zulu", "z", "am", "pm", "at", "t", "infinity", "epoch":
				continue
			}
			special = false
			break
		}
		if special {
			return t.text
		}
	}
	return ""
}
