package query

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestKeyAndAccountInHeader(t *testing.T) {
	f := parse(t, "-- GET /x\n-- key: User_ID , \"Part \"\"No\"\"\", \"a,b\" (two)\n-- account: \"Org\"\n-- amount: in cents\n-- count: of all\nSELECT 1")
	if d := cmp.Diff([]string{"user_id", `Part "No"`, "a,b"}, f.Key); d != "" {
		t.Error(d)
	}
	if f.Account != "Org" {
		t.Errorf("account %q", f.Account)
	}
	for text, want := range map[string]string{
		"-- key:":                     `"" is not a list of columns`,
		"-- key: a,":                  `"a," is not a list of columns`,
		"-- key: a b":                 `"a b" is not a list of columns`,
		`-- key: "a`:                  `"\"a" is not a list of columns`,
		`-- key: "a" b`:               `"\"a\" b" is not a list of columns`,
		`-- key: ""`:                  `"\"\"" is not a list of columns`,
		"-- key: a, A":                "the key names a twice; keep one of them",
		"-- key: a\n-- key: b":        "key is given twice",
		"-- account: a, b":            `"a, b" is not a column; write`,
		"-- account: a\n-- kye: b":    `unknown key "kye"; did you mean key?`,
		"-- acount: a":                `unknown key "acount"; did you mean account?`,
		"-- primary_key: a":           `did you mean key?`,
		"-- account-column: a":        `did you mean account?`,
		"-- ttl: 1h\n-- account: a.b": `"a.b" is not a column`,
	} {
		_, problems := ParseFile("x.sql", []byte("-- GET /x\n"+text+"\nSELECT 1"))
		if len(problems) != 1 || !strings.Contains(problems[0].String(), want) {
			t.Errorf("%s: %v", text, problems)
		}
	}
}

func TestKeyOfAnswer(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES;
		CREATE TABLE users (id int PRIMARY KEY, name text, "Org Id" int);
		CREATE TABLE seats (org int, seat int, who int, PRIMARY KEY (org, seat));
		CREATE TABLE plain (id int);
		CREATE TABLE parent (id int PRIMARY KEY);
		CREATE TABLE child () INHERITS (parent);
		CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY HASH (id);
		CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);`)
	conn := db.Conn(t)
	for _, c := range []struct {
		head, sql string
		key       []int
		account   int
		problem   string
	}{
		{"", "SELECT id, name FROM users", []int{0}, -1, ""},
		{"", "SELECT name, id AS ident, id FROM users WHERE EXISTS (SELECT FROM seats WHERE who = users.id) ORDER BY name LIMIT 3", []int{1}, -1, ""},
		{"", "SELECT name FROM users", []int{0}, -1, ""},
		{"", "SELECT who, seat, org FROM seats", []int{1, 2}, -1, ""},
		{"", "SELECT who, seat FROM seats", []int{0, 1}, -1, ""},
		{"", "SELECT id FROM plain", []int{0}, -1, ""},
		{"", "SELECT id, 1 AS one FROM parent", []int{0, 1}, -1, ""},
		{"", "SELECT id, 1 AS one FROM parts", []int{0}, -1, ""},
		{"", "SELECT id, 1 AS one FROM ONLY parent", []int{0}, -1, ""},
		{"", "SELECT u.id, s.seat FROM users u JOIN seats s ON s.who = u.id", []int{0, 1}, -1, ""},
		{"", "SELECT id, name FROM (SELECT * FROM users) u", []int{0, 1}, -1, ""},
		{"", "SELECT id, generate_series(1, 2) AS g FROM users", []int{0, 1}, -1, ""},
		{"", "SELECT id, name FROM users UNION ALL SELECT id, name FROM users", []int{0, 1}, -1, ""},
		{"", "SELECT id, count(*) AS n FROM users GROUP BY GROUPING SETS ((id), ())", []int{0, 1}, -1, ""},
		{"", "SELECT id + 0 AS id, name FROM users", []int{0, 1}, -1, ""},
		{"", "SELECT count(*) AS n FROM users", []int{0}, -1, ""},
		{"-- key: seat, org", "SELECT u.id, s.seat, s.org FROM users u JOIN seats s ON s.who = u.id", []int{1, 2}, -1, ""},
		{`-- account: "Org Id"`, `SELECT id, "Org Id" FROM users`, []int{0}, 1, ""},
		{"-- key: idd", "SELECT id, name FROM users", nil, 0, "x.sql:2: the key names idd, which the statement does not return; did you mean id?"},
		{"-- account: org_id", `SELECT id, "Org Id" FROM users`, nil, 0, `the account names org_id, which the statement does not return; did you mean "Org Id"?`},
		{"-- account: tenant", "SELECT id, name FROM users", nil, 0, "it returns id, name"},
		{"-- key: id, x", "SELECT id, id FROM users", nil, 0, "the key names id, which the statement returns twice; name them apart with AS"},
	} {
		f, problems := ParseFile("x.sql", []byte("-- GET /x\n"+c.head+"\n"+c.sql))
		if problems != nil {
			t.Fatal(problems)
		}
		e, problems, err := Analyze(t.Context(), conn, f, Options{Publication: "tidemark"})
		if err != nil {
			t.Fatal(err)
		}
		if c.problem != "" {
			if len(problems) == 0 || !strings.Contains(problems[0].String(), c.problem) {
				t.Errorf("%s %s: %v", c.head, c.sql, problems)
			}
			continue
		}
		if problems != nil {
			t.Errorf("%s %s: %v", c.head, c.sql, problems)
			continue
		}
		if d := cmp.Diff(c.key, e.Key); d != "" || e.Account != c.account {
			t.Errorf("%s %s: key %v, account %d", c.head, c.sql, e.Key, e.Account)
		}
	}
}
