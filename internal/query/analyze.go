package query

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/query/nodetree"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// minVersion is the first Postgres with SQL-standard function bodies.
const minVersion = 140000

// Analyze asks Postgres what a file's statement means and what it reads. It
// returns an endpoint, or the problems for the author of the file, or an error
// when the question could not be asked.
//
// The connection has to be to the primary, as the role and with the search_path
// of the sessions that will fill answers, with the right to create temporary
// objects, and outside a transaction. Nothing is left behind: all happens in one
// transaction that is rolled back.
func Analyze(ctx context.Context, conn *pgx.Conn, f *File, opts Options) (*Endpoint, []Problem, error) {
	for try := 1; ; try++ {
		e, problems, err := analyze(ctx, conn, f, opts)
		switch {
		case errors.Is(err, errMoved) && try < mostMoved:
		case err != nil:
			return nil, nil, fmt.Errorf("analyse %s: %w", f.Path, err)
		case len(problems) > 0:
			return nil, sortProblems(problems), nil
		default:
			return e, nil, nil
		}
	}
}

// errMoved: Postgres resolves names by what is committed, and the catalogue is
// read as of the snapshot before.
var errMoved = errors.New("what the statement reads was defined anew meanwhile")

// mostMoved is how often a statement is analysed whose relations are replaced.
const mostMoved = 10

func analyze(ctx context.Context, conn *pgx.Conn, f *File, opts Options) (*Endpoint, []Problem, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadWrite})
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx)) // of a transaction that nobody needs
	a := newAnalysis(ctx, tx, f)
	e, problems, err := a.run(opts)
	if a.srv.err != nil {
		err = a.srv.err
	}
	return e, problems, err
}

func newAnalysis(ctx context.Context, tx pgx.Tx, f *File) *analysis {
	return &analysis{
		srv: newServer(ctx, tx), file: f,
		tables: map[uint32]*relation{}, relations: map[uint32]bool{}, functions: map[uint32]bool{},
		types: map[uint32]bool{}, names: map[string]bool{}, recursive: map[uint32]bool{},
		inside: map[conjunct]map[mention]int{}, tested: map[mention]int{}, levelOf: map[*entry]*level{}, sublinks: map[conjunct]int{},
	}
}

func (a *analysis) run(opts Options) (*Endpoint, []Problem, error) {
	s, f := a.srv, a.file
	snapshot, err := s.open()
	if err != nil {
		return nil, nil, err
	}
	sd, err := s.tx.Conn().PgConn().Prepare(s.ctx, "", f.SQL, nil)
	if err != nil {
		return a.rejected(err, 0)
	}
	if len(sd.Fields) == 0 {
		line, col := f.Position(0)
		return nil, []Problem{{
			File: f.Path, Line: line, Column: col, Message: "the statement returns no columns",
			Hint: "an endpoint is a SELECT",
		}}, nil
	}
	e := &Endpoint{
		Name: f.Name, File: f.Path, Route: f.Route, TTL: f.TTL, One: f.One, SQL: f.SQL, Snapshot: snapshot,
		byName: map[string]int{},
	}
	if e.TTL == 0 {
		e.TTL = opts.DefaultTTL
	}
	if e.TTL == 0 {
		e.TTL = defaultTTL
	}
	prefix, tree, problems, err := a.probe(sd.ParamOIDs)
	if err != nil || problems != nil {
		return nil, problems, err
	}
	top := &frame{own: true, prefix: prefix, reader: s.role, user: s.role}
	for i, oid := range sd.ParamOIDs {
		top.params = append(top.params, a.typed(&scalar{kind: scalarParam, param: i}, oid))
	}
	a.parameters(e, top, sd.ParamOIDs)
	e.order = queryOrder(e.Params)
	a.result(e, top, sd.Fields)
	a.queries(tree, top)
	a.clock(top)
	a.dependencies(e)
	if s.err != nil {
		return nil, nil, s.err
	}
	problems = append(a.settle(e), a.identity(e)...)
	a.pages(e, sd.ParamOIDs)
	e.limits, e.coercions = a.limits(), a.coercions
	a.keys(e)
	e.ties = a.cuts(e)
	if !opts.SkipPublication {
		problems = append(problems, a.published(e, opts.Publication)...)
		e.objects.publication = opts.Publication
	}
	return e, problems, s.err
}

// open takes the snapshot first, so that nothing the analysis sees is older.
func (s *server) open() (revision.Snapshot, error) {
	var snap, platform string
	if !s.row("the server's version", `
		SELECT pg_current_snapshot()::text, current_setting('server_version_num')::int, version(),
		       (SELECT oid FROM pg_roles WHERE rolname = current_user)`,
		nil, &snap, &s.version, &platform, &s.role) {
		return revision.Snapshot{}, s.err
	}
	if s.version < minVersion {
		return revision.Snapshot{}, fmt.Errorf("the server is Postgres %d, and tidemark needs 14 or later", s.version/10000)
	}
	for _, arch := range []string{"s390", "powerpc64-", "ppc64-", "sparc"} {
		s.foreignBytes = s.foreignBytes || strings.Contains(platform, arch)
	}
	for _, set := range Settings() {
		var got string
		s.row("a setting", `SELECT set_config($1, $2, true)`, []any{set.Name, set.Value}, &got)
	}
	if s.err != nil {
		return revision.Snapshot{}, s.err
	}
	return revision.ParseSnapshot(snap)
}

// probe makes the statement the body of a temporary function and returns the
// tree that Postgres keeps of it. prefix is how many bytes its locations count
// before the statement.
//
// It speaks the extended protocol, which takes one statement only: no text of a
// file or function can end the body and go on.
func (a *analysis) probe(types []uint32) (prefix int, tree nodetree.Value, problems []Problem, err error) {
	s := a.srv
	head := a.probeHead(types)
	if s.err != nil {
		return 0, tree, nil, s.err
	}
	text, err := a.analysed(head, a.file.SQL)
	if err != nil {
		if pe := new(pgconn.PgError); errors.As(err, &pe) && pe.Code == "0A000" {
			// It could be prepared, so it is a statement of its own kind.
			line, col := a.file.Position(0)
			return 0, tree, []Problem{{File: a.file.Path, Line: line, Column: col, Message: notSelect, Hint: "an endpoint is a SELECT"}}, nil
		}
		_, problems, err = a.rejected(err, utf8.RuneCountInString(head))
		return 0, tree, problems, err
	}
	return len(head), s.tree(text), nil, s.err
}

// probeHead returns what comes before the statement.
func (a *analysis) probeHead(types []uint32) string {
	names := column1[string](a.srv, "parameter types",
		`SELECT format_type(t, NULL) FROM unnest($1::oid[]) WITH ORDINALITY u(t, n) ORDER BY n`, types)
	return "CREATE OR REPLACE FUNCTION pg_temp.tidemark_probe(" + strings.Join(names, ", ") + ") RETURNS void LANGUAGE sql BEGIN ATOMIC\n"
}

// analysed returns the text of the tree that Postgres makes of a statement. A
// probe with other parameters than the first is another function, and newer.
func (a *analysis) analysed(head, sql string) (text string, err error) {
	if err := a.srv.exec(head + sql + "\n; END"); err != nil {
		return "", err
	}
	a.srv.row("the analysed statement", `
		SELECT coalesce(prosqlbody::text, '') FROM pg_proc
		WHERE pronamespace = pg_my_temp_schema() AND proname = 'tidemark_probe' ORDER BY oid DESC LIMIT 1`, nil, &text)
	return text, nil
}

// exec runs one statement with the extended protocol.
func (s *server) exec(sql string) error {
	return s.tx.Conn().PgConn().ExecParams(s.ctx, sql, nil, nil, nil, nil).Read().Err
}

// rejected turns what Postgres says of a statement into a problem; skip is the
// number of characters before it.
func (a *analysis) rejected(err error, skip int) (*Endpoint, []Problem, error) {
	var pe *pgconn.PgError
	msg, ok := serverMessage(err)
	if !ok || !errors.As(err, &pe) {
		return nil, nil, refine(err)
	}
	p := Problem{File: a.file.Path, Message: a.named(msg), Hint: clause(a.named(pe.Hint))}
	p.Line, p.Column = a.file.Position(0)
	if n := int(pe.Position) - skip; pe.Position > 0 && n > 0 {
		p.Line, p.Column = a.file.characterPosition(n)
	}
	if pe.Code == "42P18" && p.Hint == "" {
		p.Hint = "say which type it has, as in :name::text"
		if m := numbered.FindStringSubmatch(pe.Message); m != nil {
			p.Line, p.Column = a.file.mention(a.named(m[0]))
		}
	}
	return nil, []Problem{p}, nil
}

// refine adds what to do about an error that is not about the statement.
func refine(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	switch pe.Code {
	case "42501":
		if strings.Contains(pe.Message, "temporary") {
			return fmt.Errorf("%w; GRANT TEMPORARY ON DATABASE ... TO the role that tidemark connects as", err)
		}
		return fmt.Errorf("%w; GRANT the right to the role that tidemark connects as", err)
	case "25006":
		return fmt.Errorf("%w; endpoints are analysed on the primary", err)
	}
	return err
}

// clause makes a sentence of Postgres fit behind a semicolon.
func clause(s string) string {
	s = strings.TrimSuffix(s, ".")
	if s != "" {
		s = strings.ToLower(s[:1]) + s[1:]
	}
	return s
}

var numbered = regexp.MustCompile(`\$([0-9]+)`)

// named writes the author's names for $1, $2 ...
func (a *analysis) named(msg string) string {
	return numbered.ReplaceAllStringFunc(msg, func(m string) string {
		if n, err := strconv.Atoi(m[1:]); err == nil && n >= 1 && n <= len(a.file.Params) {
			return ":" + a.file.Params[n-1]
		}
		return m
	})
}

// serverMessage returns what the server says of a statement, and false for
// errors that are not about the statement.
func serverMessage(err error) (string, bool) {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || len(pe.Code) != 5 {
		return "", false
	}
	switch pe.Code[:2] {
	case "0A", "22", "2F", "3F", "42", "54":
		if pe.Code == "42501" {
			return "", false // rights: of the role, not of the statement
		}
		return pe.Message, true
	}
	return "", false
}

// parameters describes the parameters, and refuses those whose text may mean
// different things at different times.
func (a *analysis) parameters(e *Endpoint, f *frame, types []uint32) {
	inPath := a.file.Route.params()
	for i, oid := range types {
		if i >= len(a.file.Params) {
			return
		}
		p := a.param(a.file.Params[i], slices.Contains(inPath, a.file.Params[i]), oid)
		e.byName[p.Name] = i
		e.Params = append(e.Params, p)
		a.domain(&level{frame: f}, oid)
		if isClockType(uint32(p.base)) {
			continue // only ISO 8601 is let through
		}
		if reason := a.inputReason(oid, 0); reason != "" {
			a.refuse(f, true, -1, ":"+p.Name, volatileHint, "the parameter :%s is of type %s, and a cast from text to it %s", p.Name, p.TypeName, reason)
		}
	}
}

// result describes the result columns.
func (a *analysis) result(e *Endpoint, f *frame, fields []pgconn.FieldDescription) {
	for _, fd := range fields {
		t := a.srv.typ(fd.DataTypeOID)
		e.Columns = append(e.Columns, Column{Name: fd.Name, Type: catalog.OID(fd.DataTypeOID), TypeName: t.name, Modifier: fd.TypeModifier})
		a.jsonCast(f, fd)
		if base := a.srv.base(fd.DataTypeOID); isNameType(base.oid) || isNameType(base.element) {
			a.refuse(f, true, -1, fd.Name, volatileHint, reasonShownByName, t.name)
		}
	}
}

// jsonCast judges the function by which a type says how it becomes JSON; a fill
// calls it.
func (a *analysis) jsonCast(f *frame, fd pgconn.FieldDescription) {
	t := a.srv.base(fd.DataTypeOID)
	if t.element != 0 {
		t = a.srv.base(t.element)
	}
	if t.oid < firstUserOID {
		return
	}
	for _, oid := range column1[uint32](a.srv, "a cast", `SELECT castfunc FROM pg_cast WHERE castsource = $1 AND casttarget = 'json'::regtype AND castfunc <> 0`, t.oid) {
		a.call(&level{frame: f}, oid, nil, -1)
	}
}

// clock refuses constants such as 'now' and 'today'.
func (a *analysis) clock(top *frame) {
	if !top.clock {
		return
	}
	for _, t := range a.file.strings {
		if clockWord([]token{t}) == "" {
			continue
		}
		line, col := a.file.lines.at(t.pos)
		a.refusals = append(a.refusals, refusal{soft: true, Problem: Problem{
			File: a.file.Path, Line: line, Column: col,
			Message: fmt.Sprintf("the constant '%s' is read as a date or time, and %s", t.text, reasonTime), Hint: volatileHint,
		}})
	}
}

// dependencies turns what the walk found into the endpoint's own terms.
func (a *analysis) dependencies(e *Endpoint) {
	e.filters = a.filters()
	for _, ref := range a.refs {
		e.Reads = append(e.Reads, &match.Reads{
			Tables: oids(ref.tables), Name: ref.rel.String(), Columns: a.columns(ref), Tested: a.testedColumns(ref),
		})
	}
	for _, oid := range slices.Sorted(maps.Keys(a.tables)) {
		r := a.tables[oid]
		e.Tables = append(e.Tables, Table{
			OID: catalog.OID(oid), Schema: r.schema, Name: r.name,
			Identity: catalog.Identity(r.identity[0]), HasKey: r.hasKey, Partitioned: r.kind == "p",
		})
	}
	for oid := range a.srv.types {
		if oid >= firstUserOID {
			a.types[oid] = true
		}
	}
	e.objects = objects{
		relations: slices.Sorted(maps.Keys(a.relations)), functions: slices.Sorted(maps.Keys(a.functions)),
		types: slices.Sorted(maps.Keys(a.types)), functionNames: slices.Sorted(maps.Keys(a.names)),
	}
}

// settle turns refusals into problems, or into the reasons of an endpoint whose
// author accepts them.
func (a *analysis) settle(e *Endpoint) []Problem {
	var problems, accepted []Problem
	for _, r := range a.refusals {
		if r.soft && a.file.Volatile {
			accepted = append(accepted, r.Problem)
		} else {
			problems = append(problems, r.Problem)
		}
	}
	for _, p := range sortProblems(accepted) {
		if !slices.Contains(e.Reasons, p.Message) {
			e.Reasons = append(e.Reasons, p.Message)
		}
	}
	e.Volatile = len(e.Reasons) > 0
	return problems
}
