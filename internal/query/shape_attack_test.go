package query

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/match"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

const attackSchema = `
	CREATE TABLE items (id int PRIMARY KEY, owner text, note text, n int, j jsonb, d timestamptz, g int GENERATED ALWAYS AS (n + 1) STORED);
	CREATE TABLE secrets (x text);
	INSERT INTO secrets VALUES ('topsecret');
	INSERT INTO items VALUES (1, 'me', 'mine', 1, '{"a": 1}', '2020-01-01'), (2, 'me', NULL, 2, NULL, NULL),
		(3, 'them', 'topsecret', 0, '{"a": 2}', '2021-01-01'), (4, 'them', 'x\', 3, NULL, NULL), (5, NULL, 'topsecret', 0, NULL, NULL);
	CREATE SEQUENCE steps;
	CREATE FUNCTION writes() RETURNS bool LANGUAGE sql AS 'INSERT INTO secrets VALUES (''written'') RETURNING true';
	CREATE FUNCTION deletes() RETURNS bool LANGUAGE plpgsql AS 'BEGIN DELETE FROM items; RETURN true; END';
	CREATE FUNCTION peeks() RETURNS text LANGUAGE sql STABLE AS 'SELECT x FROM secrets';
	CREATE FUNCTION peeks2() RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT x FROM secrets); END';
	CREATE FUNCTION elevated() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT x FROM secrets';
	CREATE FUNCTION doubled(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
	CREATE FUNCTION many() RETURNS SETOF bool LANGUAGE sql IMMUTABLE AS 'VALUES (true), (false)';
	CREATE VIEW mine AS SELECT * FROM items;
	CREATE DOMAIN ticking AS int CHECK (VALUE > nextval('steps'));`

// hostile are texts of clients, with what the answer to them holds.
var hostile = []struct {
	where  string
	params []string
	says   string // "" if it is let through
}{
	{"true) OR (true", nil, `At location 19: syntax error at or near ")"`},
	{"1 = 1) OR (1 = 1", nil, `At location 20: syntax error at or near ")"`},
	{"(true", nil, "At location 20: syntax error at end of input"},
	{"id = ANY (ARRAY[1)]", nil, `At location 32: syntax error at or near ")"`},
	{"true OR true", nil, ""},
	{"owner = 'them'", nil, ""},
	{"owner IS NOT NULL OR owner IS NULL", nil, ""},
	{"false OR NOT false", nil, ""},
	{"true -- ", nil, "cannot have a comment"},
	{"true /* ) OR (true */", nil, "cannot have a comment"},
	{"/* /* */ true", nil, "this comment has no end"},
	{"true --\n) OR (true", nil, "cannot have a comment"},
	{"id +-- x\n= 1", nil, "cannot have a comment"},
	{"true; DELETE FROM items", nil, `At location 19: syntax error at or near ";"`},
	{"true;", nil, `near ";"`},
	{"note = $$) OR (true$$", nil, "dollar quotes"},
	{"note = $x$'$x$ OR note = '", nil, "dollar quotes"},
	{"note = '$$' OR note = '$$'", nil, ""},
	{`note = '\' OR true) OR (note = '\'`, nil, `syntax error at or near ")"`},
	{`note = E'\') OR (true --'`, nil, "a text with escapes"},
	{`note = U&'\0027' OR true`, nil, "a text with escapes"},
	{`U&"\0069d" = 1`, nil, "a name with escapes"},
	{"note = 'a' \n 'b'", nil, "two texts side by side"},
	{"note = 'a", nil, "this string has no end"},
	{`"id = 1`, nil, "this quoted name has no end"},
	{"note = ''') OR (''' OR true", nil, ""},
	{`"id") OR ("id" = "id"`, nil, `syntax error at or near ")"`},
	{"note = '$1'", nil, ""},
	{`note = '$2' AND id = $1`, []string{"1"}, ""},
	{`"$1" = 3`, nil, `column "$1" does not exist`},
	{"id = $1", nil, "there is no value for the parameter $1"},
	{"id = $2", []string{"1"}, "there is no value for the parameter $2"},
	{"id = $0", []string{"1"}, "there is no value for the parameter $0"},
	{"id = $99999999999999999999", []string{"1"}, "there is no value for the parameter"},
	{"id = 1", []string{"1"}, "does not use the parameter $1"},
	{"id = $1 OR note = $1", []string{"1"}, "operator does not exist"},
	{"id = $1x", []string{"1"}, "trailing junk"},
	{"note = $1", []string{"') OR true --"}, ""},
	{"note = :x", nil, `syntax error at or near ":"`},
	{"id == 1", nil, "At location 18: operator does not exist: integer == integer"},
	{"id = ", nil, "At location 20: syntax error at end of input"},
	{"i = 'ä' AND +", nil, "At location 28: syntax error at end of input"},
	{"note = 'ä' WHERE", nil, `At location 26: syntax error at or near "WHERE"`},
	{"missing = 1", nil, `At location 15: column "missing" does not exist`},
	{"id = 'x'", nil, `At location 20: invalid input syntax for type integer: "x"`},
	{"id", nil, "argument of WHERE must be type boolean"},
	{"$1", []string{"true"}, ""},
	{"true LIMIT 1", nil, `At location 20: syntax error at or near "LIMIT"`},
	{"true LIMIT ALL", nil, "syntax error"},
	{"true GROUP BY id", nil, "syntax error"},
	{"true ORDER BY 1", nil, "syntax error"},
	{"true FOR UPDATE", nil, "syntax error"},
	{"true FETCH FIRST ROW ONLY", nil, "syntax error"},
	{"true WINDOW w AS ()", nil, "syntax error"},
	{"true UNION SELECT x FROM secrets", nil, "cannot have a subquery"},
	{"true UNION TABLE secrets", nil, "cannot have a subquery"},
	{"true UNION VALUES (1)", nil, "syntax error"},
	{"EXISTS (SELECT 1 FROM secrets)", nil, "cannot have a subquery"},
	{"note IN (SELECT x FROM secrets)", nil, "cannot have a subquery"},
	{"note = (TABLE secrets)", nil, "cannot have a subquery"},
	{"id IN (VALUES (1), (2))", nil, "cannot have a subquery"},
	{"id = (VALUES (1))", nil, "cannot have a subquery"},
	{"note = ANY (ARRAY(SELECT x FROM secrets))", nil, "cannot have a subquery"},
	{"1 IN (WITH x AS (VALUES (1)) VALUES (1))", nil, "cannot have a subquery"},
	{"secrets.x = 'a'", nil, "missing FROM-clause entry"},
	{"public.secrets.x = 'a'", nil, "missing FROM-clause entry"},
	{"public.items.id = 1", nil, "name the columns without a schema"},
	{"items.id = 1", nil, ""},
	{"(items).id = 1", nil, ""},
	{"items IS NOT NULL", nil, "the row as a whole"},
	{"to_jsonb(items) ->> 'owner' = 'them'", nil, "the row as a whole"},
	{"items.* IS NULL", nil, "the row as a whole"},
	{"ctid = '(0,1)'", nil, "system columns"},
	{"xmin = '3'", nil, "system columns"},
	{"tableoid = 5", nil, "system columns"},
	{"g = 2", nil, "is generated"},
	{"writes()", nil, "not a SELECT"},
	{"deletes()", nil, "VOLATILE"},
	{"peeks() = 'topsecret'", nil, "a function that reads a table"},
	{"elevated() = 'topsecret'", nil, "a function that reads a table"},
	{"peeks2() = 'topsecret'", nil, "STABLE"},
	{"doubled(n) = 4", nil, ""},
	{"many()", nil, "set-returning functions are not allowed in WHERE"},
	{"generate_series(1, 2) = 1", nil, "set-returning functions are not allowed in WHERE"},
	{"unnest(ARRAY[true])", nil, "set-returning functions are not allowed in WHERE"},
	{"count(*) > 0", nil, "aggregate functions are not allowed in WHERE"},
	{"rank() OVER () = 1", nil, "window functions are not allowed in WHERE"},
	{"nextval('steps') > 0", nil, "a sequence, which"},
	{"n::ticking = 1", nil, "sequence"},
	{"random() < 1", nil, "answers differently each time"},
	{"d < now()", nil, "changes with time"},
	{"d < CURRENT_TIMESTAMP", nil, "changes with time"},
	{"d < 'now'", nil, "changes with time"},
	{"d < 'no' \n 'w'", nil, "side by side"},
	{"d < ('no' || 'w')::timestamptz", nil, "depends on the time"},
	{"d < note::timestamptz", nil, "depends on the time"},
	{"d < ANY ('{now}'::timestamptz[])", nil, "changes with time"},
	{"d < '2020-06-01'", nil, ""},
	{"owner = current_user", nil, "depends on the session"},
	{"current_setting('search_path') = ''", nil, "depends on the session"},
	{"set_config('search_path', 'x', false) = 'x'", nil, "depends on the session"},
	{"pg_sleep(0) IS NULL", nil, "changes with time"},
	{"pg_sleep(9)::text = ''", nil, "changes with time"},
	{"pg_read_file('/etc/passwd') = ''", nil, "state of the server"},
	{"query_to_xml('DELETE FROM items', true, true, '') IS NULL", nil, "runs text as SQL"},
	{"has_table_privilege('secrets', 'select')", nil, "depends on rights"},
	{"to_regclass('secrets') IS NOT NULL", nil, "reads the system catalogs"},
	{"'secrets'::regclass = 5", nil, "reads the system catalogs"},
	{"'{secrets}'::regclass[] IS NULL", nil, "reads the system catalogs"},
	{"note::regclass = 5", nil, "catalog"},
	{"pg_typeof(id) = 23", nil, "catalog"},
	{"CURRENT OF c", nil, "syntax error"},
	{"id = 1 RETURNING *", nil, "syntax error"},
	{"1 / (CASE WHEN note = 'topsecret' THEN 0 ELSE 1 END) = 1", nil, ""},
	{"note::int = 1 OR note = 'topsecret'", nil, ""},
	{"note LIKE $1", []string{`x\`}, ""},
	{"(j ->> 'a')::int / (2 - (j ->> 'a')::int) < 100", nil, ""},
	{"coalesce(owner, 'me') = 'me'", nil, ""},
	{strings.Repeat("(", 20000) + "true" + strings.Repeat(")", 20000), nil, "At location"},
	{strings.Repeat("NOT ", 3000) + "true", nil, "deeply nested"},
	{strings.Repeat("x", maxShapeText+1), nil, "bytes"},
	{"id = 1\x00", nil, "not UTF-8"},
	{"note = '\xff'", nil, "not UTF-8"},
}

// attacked holds the table of an attack.
type attacked struct {
	conn *pgx.Conn
	rows []ShapeRow
	hide []bool // of rows
	let  int
}

func attackedTable(t *testing.T) *attacked {
	db := pgtest.DB(t)
	db.Exec(t, attackSchema)
	a := &attacked{conn: db.Conn(t)}
	for _, s := range ShapeSettings() {
		if _, err := a.conn.Exec(context.Background(), "SET "+s.Name+" = '"+s.Value+"'"); err != nil {
			t.Fatal(err)
		}
	}
	rel := &catalog.Relation{Schema: "public", Name: "items", Columns: []catalog.Column{
		{Name: "id", Type: 23}, {Name: "owner", Type: 25}, {Name: "note", Type: 25}, {Name: "n", Type: 23}, {Name: "j", Type: 3802}, {Name: "d", Type: 1184},
	}}
	result := a.conn.PgConn().ExecParams(context.Background(), "SELECT id, owner, note, n, j, d FROM items", nil, nil, nil, nil).Read()
	for _, r := range result.Rows {
		row := ShapeRow{Relation: rel}
		for _, v := range r {
			value := change.Value{Kind: change.Null}
			if v != nil {
				value = change.Value{Kind: change.Text, Text: v}
			}
			row.Row = append(row.Row, value)
		}
		a.rows, a.hide = append(a.rows, row), append(a.hide, string(r[1]) != "me")
	}
	return a
}

// attack asks for a shape with a filter, and checks that no row outside of it is
// ever seen, nor anything of one in an error. It returns the problems.
func (a *attacked) attack(t *testing.T, text ShapeText, params []string) string {
	t.Helper()
	ctx := context.Background()
	what := fmt.Sprintf("%.200q %q", text.Where, params)
	c, problems, err := AnalyzeShape(ctx, a.conn, text, Options{SkipPublication: true})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if c == nil {
		var all []string
		for _, p := range problems {
			if p.File != ShapeWhere {
				t.Errorf("%s: it is said of another part: %v", what, p)
			}
			all = append(all, p.String())
		}
		if len(all) == 0 {
			t.Errorf("%s: refused without a reason", what)
		}
		return strings.Join(all, "\n")
	}
	a.let++
	r, err := c.Bind(params)
	if text.Account != "" {
		r, err = c.BindAccount("me", params)
	}
	if err != nil {
		return ""
	}
	where, args, types := r.SQL()
	result := a.conn.PgConn().ExecParams(ctx, "SELECT id, owner FROM "+r.From()+" WHERE "+where, args, types, nil, nil).Read()
	if result.Err != nil && !strings.Contains(result.Err.Error(), "mine") {
		t.Errorf("%s: a row outside of the filter is looked at: %v", what, result.Err)
	}
	for _, row := range result.Rows {
		if string(row[1]) != "me" {
			t.Errorf("%s: it sees %q", what, row)
		}
	}
	for i, row := range a.rows {
		told, err := r.Evaluate(ctx, a.conn.PgConn(), a.rows[i:i+1])
		if a.hide[i] && (err != nil || told[0]) {
			t.Errorf("%s: %q is evaluated: %v", what, row.Row[0].Text, err)
		}
		if a.hide[i] && r.Pass(row.Relation, row.Row) == match.Yes {
			t.Errorf("%s: %q passes", what, row.Row[0].Text)
		}
	}
	return ""
}

// state is what an attack could change.
func (a *attacked) state(t *testing.T) (out string) {
	t.Helper()
	if err := a.conn.QueryRow(context.Background(), `SELECT concat_ws(' ', (SELECT count(*) FROM items), (SELECT count(*) FROM secrets),
		(SELECT is_called FROM steps), (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_proc),
		(SELECT string_agg(name || setting, ',' ORDER BY name) FROM pg_settings WHERE source = 'session'))`).Scan(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestShapeAttacks(t *testing.T) {
	a := attackedTable(t)
	before := a.state(t)
	for _, tt := range hostile {
		for _, text := range []ShapeText{
			{Table: "items", Fixed: "owner = 'me'", Where: tt.where, Params: len(tt.params)},
			{Table: "items", Fixed: "owner = 'me' OR false -- a remark", Where: tt.where, Params: len(tt.params)},
			{Table: "items", Account: "owner", Where: tt.where, Params: len(tt.params)},
		} {
			got := a.attack(t, text, tt.params)
			if !strings.Contains(got, tt.says) || (got == "") != (tt.says == "") {
				t.Errorf("%.200q: got %q, want %q", tt.where, got, tt.says)
			}
		}
	}
	if after := a.state(t); after != before {
		t.Errorf("something changed: %s, then %s", before, after)
	}
}

// A problem names the part that it is in, so that nobody is blamed for what another
// wrote.
func TestShapeProblemsNameTheirPart(t *testing.T) {
	a := attackedTable(t)
	for _, bad := range []string{
		"id IN (SELECT 1)", "g = 1", "items IS NOT NULL", "ctid IS NULL", "peeks2() = 'x'", "d < now()", "random() < n", "nosuch = 1",
		"id = 'x'", "id = 1 AND (owner = 'me' AND EXISTS (SELECT))",
	} {
		for _, tt := range []struct {
			text ShapeText
			part string
		}{
			{ShapeText{Fixed: bad}, ShapeFixed},
			{ShapeText{Fixed: bad, Account: "owner"}, ShapeFixed},
			{ShapeText{Fixed: bad, Where: "id = 1"}, ShapeFixed},
			{ShapeText{Fixed: bad, Account: "owner", Where: "id = $1", Params: 1}, ShapeFixed},
			{ShapeText{Where: bad}, ShapeWhere},
			{ShapeText{Fixed: "id = 1", Account: "owner", Where: bad}, ShapeWhere},
			{ShapeText{Fixed: "id = 1 AND n = 2", Where: "id = 1 AND " + bad}, ShapeWhere},
		} {
			tt.text.Table = "items"
			_, problems, err := AnalyzeShape(context.Background(), a.conn, tt.text, Options{SkipPublication: true})
			if err != nil || len(problems) == 0 || problems[0].File != tt.part {
				t.Errorf("%+v: %v %v, want one in %s", tt.text, problems, err, tt.part)
			}
		}
	}
}

// TestShapeRandomAttacks makes texts of what has a meaning for the lexer or the
// statement around them.
func TestShapeRandomAttacks(t *testing.T) {
	a := attackedTable(t)
	before := a.state(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	pieces := strings.Split("true|false|NULL|(|)|(|)| OR | AND | NOT |--|/*|*/|'|''|\"|$$|$x$|;|E'|\\'|\\|\n|\r|U&'|$1|$2|id|owner|note|=|<|'me'|'them'|1|[|]|,| IS | IN |::|"+
		" UNION | VALUES (1)|SELECT| FROM secrets| LIMIT 1|CASE WHEN | THEN | ELSE | END |ARRAY|.|items|\t|@|-|/|*|:|\u00a0|ä|||", "|")
	for range 6000 {
		var b strings.Builder
		for range 1 + rnd.IntN(9) {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
		}
		text := ShapeText{Table: "items", Fixed: "owner = 'me'", Where: b.String()}
		var params []string
		for _, p := range []string{"$1", "$2"} {
			if strings.Contains(text.Where, p) {
				params, text.Params = append(params, "1"), text.Params+1
			}
		}
		if rnd.IntN(2) == 0 {
			text.Fixed, text.Account = "", "owner"
		}
		a.attack(t, text, params)
	}
	if after := a.state(t); after != before {
		t.Errorf("something changed: %s, then %s", before, after)
	}
	t.Logf("let through: %d", a.let)
	if a.let < 100 {
		t.Error("too little is let through")
	}
}

func TestShapeNames(t *testing.T) {
	db := pgtest.DB(t)
	conn := settled(t, db)
	ctx := context.Background()
	long := strings.Repeat("ä", 40)
	names := []string{"items", "Items", "a b", `q"uote`, "user", "order", "dot.ted", "ä", "Ä", "select", "$x", "a$b", "_", "  ", "1st", ";", "--", "'", long}
	for _, schema := range []string{"public", "Other.", "other", `"`} {
		db.Exec(t, "CREATE SCHEMA IF NOT EXISTS "+quoteName(schema))
		for _, n := range names {
			db.Exec(t, "CREATE TABLE "+quoteName(schema)+"."+quoteName(n)+" (id int)")
		}
	}
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 1))
	write := func(n string) string {
		if rnd.IntN(2) == 0 {
			return quoteName(n)
		}
		return n
	}
	found, refused := 0, 0
	for range 500 {
		text := write(names[rnd.IntN(len(names))])
		switch rnd.IntN(4) {
		case 0:
			text = write([]string{"public", "Other.", "other", `"`, "OTHER"}[rnd.IntN(5)]) + "." + text
		case 1:
			text = " public . " + text + "\n"
		}
		var want *uint32
		plain := func() (err error) {
			return conn.QueryRow(ctx, "SELECT to_regclass($1)::oid", text).Scan(&want)
		}()
		c, problems, err := AnalyzeShape(ctx, conn, ShapeText{Table: text}, Options{SkipPublication: true})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		switch {
		case c == nil:
			refused++
			if problems[0].File != ShapeTable {
				t.Errorf("%q: %v", text, problems)
			}
		case plain != nil || want == nil || *want != uint32(c.Table.OID):
			t.Errorf("%q is %v (%d), and Postgres says %v", text, c.Table, c.Table.OID, plain)
		default:
			found++
			if got, err := conn.Exec(ctx, "SELECT id FROM "+c.From()); err != nil {
				t.Errorf("%q: %v %v", text, got, err)
			}
		}
		// What needs no quotes, or has them, is found.
		if c == nil && want != nil && !strings.ContainsAny(strings.ReplaceAll(text, " public . ", ""), " -;'1$") && !strings.Contains(text, "dot") && !strings.Contains(text, "Other.") && !strings.Contains(text, `q"`) {
			t.Errorf("%q is not found: %v", text, problems)
		}
	}
	if found < 100 || refused < 50 {
		t.Errorf("%d found, %d refused", found, refused)
	}
}

func TestShapeLists(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"id", "id"},
		{` id , "Name" ,"a ""b""", ID`, `id Name a "b"`},
		{"id,", "ends with a comma"},
		{",id", "is not a name"},
		{"", "is empty"},
		{"id name", "where a comma should be"},
		{"id; DROP TABLE x", "where a comma should be"},
		{"1", "is not a name"},
		{`""`, "a name is empty"},
		{`"id`, "without an end"},
		{"id -- x", "has a comment"},
		{"*", "is not a name"},
		{`U&"\0069d"`, "is a name with escapes"},
		{"count(id)", "where a comma should be"},
	} {
		got, err := ParseColumns(tt.in)
		if text := strings.Join(got, " ") + fmt.Sprint(err); !strings.Contains(text, tt.want) {
			t.Errorf("columns %q: got %q, want %q", tt.in, text, tt.want)
		}
	}
	columns := []string{"id", "Name", "desc", `a"b`, "nulls"}
	for _, tt := range []struct{ in, want string }{
		{"id", `"t"."id" NULLS LAST`},
		{"id DESC", `"t"."id" DESC NULLS FIRST`},
		{`ID desc nulls LAST, "Name" Asc Nulls First`, `"t"."id" DESC NULLS LAST, "t"."Name" NULLS FIRST`},
		{"desc desc, nulls nulls first", `"t"."desc" DESC NULLS FIRST, "t"."nulls" NULLS FIRST`},
		{`"a""b"`, `"t"."a""b" NULLS LAST`},
		{"name", `column "name" does not exist`},
		{"1", "is not a name"},
		{"id, ", "ends with a comma"},
		{"", "is empty"},
		{"id DESC ASC", `there is "asc"`},
		{"id NULLS", "NULLS without FIRST or LAST"},
		{"id USING >", `there is "using"`},
		{"(id)", "is not a name"},
		{"id; DELETE FROM t", `there is ";"`},
		{"id COLLATE \"C\"", `there is "collate"`},
		{"random()", `column "random" does not exist`},
		{"id -- x", "has a comment"},
		{"CASE WHEN true THEN id END", `column "case" does not exist`},
	} {
		items, err := ParseOrderBy(tt.in, columns)
		if text := OrderSQL(items, "t") + fmt.Sprint(err); !strings.Contains(text, tt.want) {
			t.Errorf("order %q: got %q, want %q", tt.in, text, tt.want)
		}
	}
}

// TestShapeOfMany holds that one analysis serves all parameters.
func TestShapeOfMany(t *testing.T) {
	a := attackedTable(t)
	ctx := context.Background()
	c, problems, err := AnalyzeShape(ctx, a.conn, ShapeText{Table: "items", Account: "owner", Where: "id = $1 OR (d >= $2 AND note LIKE 'm%')", Params: 2}, Options{SkipPublication: true})
	if err != nil || len(problems) > 0 {
		t.Fatal(problems, err)
	}
	if !slices.Equal(c.Mentions, []string{"id", "d", "note"}) {
		t.Errorf("it mentions %q", c.Mentions)
	}
	if c.Column("owner") == nil || c.Column("nope") != nil {
		t.Errorf("columns %v", c.Columns)
	}
	r, err := c.BindAccount("me", []string{"2", "2019-12-31T12:00:00Z"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Decided() || len(r.Deps()) != 1 {
		t.Errorf("decided %v, %v", r.Decided(), r.Deps())
	}
	where, args, types := r.SQLAfter(2)
	got := a.conn.PgConn().ExecParams(ctx, "SELECT id FROM "+c.From()+" WHERE "+where+" ORDER BY id LIMIT $1 OFFSET $2",
		append([][]byte{[]byte("5"), []byte("0")}, args...), append([]uint32{20, 20}, types...), nil, nil).Read()
	if got.Err != nil || len(got.Rows) != 2 {
		t.Errorf("%v %q", got.Err, got.Rows)
	}
	for _, tt := range []struct {
		params []string
		says   string
	}{
		{[]string{"x", "2020-01-01"}, `parameter $1 is "x", not an integer`},
		{[]string{"1", "now"}, `parameter $2 is "now", not a timestamp`},
		{[]string{"1"}, "parameter account is missing"},
		{[]string{"1", "2020-01-01", "3"}, "4 values for 3 parameters"},
	} {
		if _, err := c.BindAccount("me", tt.params); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %v, want %s", tt.params, err, tt.says)
		}
	}
	if _, err := c.Bind([]string{"1", "2020-01-01"}); err == nil {
		t.Error("bound without an account")
	}
	plain, _, err := AnalyzeShape(ctx, a.conn, ShapeText{Table: "items", Where: "id = $1 OR n = $2", Params: 2}, Options{SkipPublication: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := plain.BindAccount("me", []string{"1", "2"}); err == nil {
		t.Error("bound with an account that counts for nothing")
	}
	r, err = plain.Bind([]string{"1", "2"})
	if err != nil || len(r.Deps()) != 2 {
		t.Errorf("an OR has the dependencies %v (%v)", r.Deps(), err)
	}
}
