package live

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/catalog"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func tableColumns(t testing.TB, conn *pgx.Conn, table string) []Column {
	rows, types := columnsOf(t, conn, table)
	out := make([]Column, len(rows))
	for i, r := range rows {
		out[i] = Column{Name: r.Name, Type: types[i], NotNull: r.NotNull, Key: int(r.Key)}
	}
	return out
}

// described reads a schema as clients do, in the order in which it is written.
func described(t testing.TB, schema string) map[string]string {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal([]byte(schema), &raw); err != nil {
		t.Fatalf("%v in %s", err, schema)
	}
	out := map[string]string{}
	for name, v := range raw {
		out[name] = string(v)
	}
	return out
}

func TestSchema(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	list := []struct{ ddl, want string }{
		{"int4", `{"type":"int4"}`},
		{"bigserial", `{"type":"int8","not_null":true}`},
		{"bool NOT NULL", `{"type":"bool","not_null":true}`},
		{"text[]", `{"type":"text","dims":1}`},
		{"int4[][] NOT NULL", `{"type":"int4","dims":2,"not_null":true}`},
		{"varchar", `{"type":"varchar"}`},
		{"varchar(255)", `{"type":"varchar","max_length":255}`},
		{"varchar(7)[][]", `{"type":"varchar","dims":2,"max_length":7}`},
		{"char", `{"type":"bpchar","length":1}`},
		{"bpchar", `{"type":"bpchar"}`},
		{`"char"`, `{"type":"char"}`},
		{"bit", `{"type":"bit","length":1}`},
		{"bit(9)", `{"type":"bit","length":9}`},
		{"varbit", `{"type":"varbit"}`},
		{"varbit(9)", `{"type":"varbit","length":9}`},
		{"numeric", `{"type":"numeric"}`},
		{"numeric(10)", `{"type":"numeric","precision":10,"scale":0}`},
		{"numeric(1000,1000)", `{"type":"numeric","precision":1000,"scale":1000}`},
		{"time", `{"type":"time"}`},
		{"time(0)", `{"type":"time","precision":0}`},
		{"timetz(3)", `{"type":"timetz","precision":3}`},
		{"timestamp(6)", `{"type":"timestamp","precision":6}`},
		{"timestamptz", `{"type":"timestamptz"}`},
		{"interval", `{"type":"interval"}`},
		{"interval(2)", `{"type":"interval","precision":2}`},
		{"interval year", `{"type":"interval","fields":"YEAR"}`},
		{"interval year to month", `{"type":"interval","fields":"YEAR TO MONTH"}`},
		{"interval day to second(3)", `{"type":"interval","precision":3,"fields":"DAY TO SECOND"}`},
		{"interval second", `{"type":"interval","fields":"SECOND"}`},
		{"interval minute to second(0)[]", `{"type":"interval","dims":1,"precision":0,"fields":"MINUTE TO SECOND"}`},
		{"mood", `{"type":"mood"}`},
		{"mood[]", `{"type":"mood","dims":1}`},
		{"name2", `{"type":"varchar","max_length":40}`},
		{"name3", `{"type":"varchar","max_length":40}`},
		{"name2[]", `{"type":"varchar","dims":1,"max_length":40}`},
		{"list", `{"type":"numeric","dims":2,"precision":5,"scale":1}`},
		{"needed", `{"type":"int4"}`}, // a domain without NULL does not keep a column from having it
		{"pair", `{"type":"pair"}`},
		{"pair[]", `{"type":"pair","dims":1}`},
		{"int4range", `{"type":"int4range"}`},
		{"jsonb", `{"type":"jsonb"}`},
		{"int2vector", `{"type":"int2vector"}`},
		{`"Größe ""x"""`, `{"type":"Gr\u00f6\u00dfe \"x\""}`},
	}
	var columns []string
	for i, c := range list {
		columns = append(columns, fmt.Sprintf("c%d %s", i, c.ddl))
	}
	if _, err := conn.Exec(context.Background(), `
		CREATE TYPE mood AS ENUM ('sad'); CREATE TYPE "Größe ""x""" AS ENUM ('s');
		CREATE DOMAIN name2 AS varchar(40); CREATE DOMAIN name3 AS name2; CREATE DOMAIN list AS numeric(5,1)[][]; CREATE DOMAIN needed AS int4 NOT NULL;
		CREATE TYPE pair AS (a int4, b text);
		CREATE TABLE t (`+strings.Join(columns, ", ")+`);
		CREATE TABLE made AS SELECT c3, c4, c7 FROM t;
		CREATE TABLE keyed (a int, "b 漢😀" int, gone int, c int GENERATED ALWAYS AS (a + 1) STORED, PRIMARY KEY (c, a));
		ALTER TABLE keyed DROP COLUMN gone`); err != nil {
		t.Fatal(err)
	}
	schema := described(t, Schema(tableColumns(t, conn, "t")))
	for i, c := range list {
		if got := schema[fmt.Sprintf("c%d", i)]; got != c.want {
			t.Errorf("%s: %s, not %s", c.ddl, got, c.want)
		}
	}
	// The catalogue does not always know how many dimensions an array has.
	for name, got := range described(t, Schema(tableColumns(t, conn, "made"))) {
		if !strings.Contains(got, `"dims":`) || strings.Contains(got, `"dims":0`) {
			t.Errorf("%s: %s", name, got)
		}
	}
	keyed := tableColumns(t, conn, "keyed")
	if want := `{"a":{"type":"int4","not_null":true},"b \u6f22\ud83d\ude00":{"type":"int4"},"c":{"type":"int4","not_null":true}}`; Schema(keyed) != want {
		t.Errorf("%s", Schema(keyed))
	}
	if keyed[0].Key != 2 || keyed[1].Key != 0 || keyed[2].Key != 1 {
		t.Errorf("the key is in %+v", keyed)
	}
	if rows, _ := columnsOf(t, conn, "keyed"); rows[0].Generated || !rows[2].Generated {
		t.Errorf("generated are %+v", rows)
	}
	if want := `{"b":{"type":"text"},"a":{"type":"text","not_null":true}}`; Schema([]Column{{Name: "a"}, {Name: "b"}, {Name: "a", NotNull: true}}) != want {
		t.Error(Schema([]Column{{Name: "a"}, {Name: "b"}, {Name: "a", NotNull: true}}))
	}
	if Schema(nil) != "{}" {
		t.Error(Schema(nil))
	}
	if _, err := NewTypes(nil).Type(23, -1, 0); err == nil {
		t.Error("a type that nobody described")
	}
	if _, err := NewTypes([]TypeRow{{OID: 9, Name: "d", Kind: "d", Delim: ",", Base: 9}}).Type(9, -1, 0); err == nil {
		t.Error("a domain over itself")
	}
}

var formatted = regexp.MustCompile(`^(.*?)(?:\((\d+)(?:,(-?\d+))?\))?(\[\])?$`)

// Random modifiers mean what format_type says of them.
func TestModifiers(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(9, 9))
	var version int
	if err := conn.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&version); err != nil {
		t.Fatal(err)
	}
	var ddl []string
	for i := range 400 {
		precision := rnd.IntN(1000) + 1
		scale := rnd.IntN(precision + 1)
		if version >= 150000 {
			scale = rnd.IntN(2001) - 1000
		}
		seconds := rnd.IntN(7)
		typ := []string{
			fmt.Sprintf("varchar(%d)", precision), fmt.Sprintf("char(%d)", precision), fmt.Sprintf("bit(%d)", precision), fmt.Sprintf("varbit(%d)", precision),
			fmt.Sprintf("numeric(%d,%d)", precision, scale), fmt.Sprintf("timestamp(%d)", seconds), fmt.Sprintf("timetz(%d)", seconds),
			fmt.Sprintf("interval(%d)", seconds), fmt.Sprintf("interval hour to second(%d)", seconds),
			"interval " + []string{"year", "month", "day", "hour", "minute", "second", "day to hour", "day to minute", "hour to minute"}[rnd.IntN(9)],
		}[rnd.IntN(10)]
		if rnd.IntN(3) == 0 {
			typ += "[]"
		}
		ddl = append(ddl, fmt.Sprintf("c%d %s", i, typ))
	}
	if _, err := conn.Exec(ctx, "CREATE TABLE t ("+strings.Join(ddl, ", ")+")"); err != nil {
		t.Fatal(err)
	}
	rows, types := columnsOf(t, conn, "t")
	for i, r := range rows {
		var name string
		if err := conn.QueryRow(ctx, "SELECT format_type($1, $2)", r.Type, r.Mod).Scan(&name); err != nil {
			t.Fatal(err)
		}
		// Postgres writes a precision of times behind the first word.
		name = strings.NewReplacer(" without time zone", "", " with time zone", "").Replace(name)
		m := formatted.FindStringSubmatch(name)
		if m == nil {
			t.Fatalf("%s", name)
		}
		want := ""
		if m[4] != "" {
			want += `,"dims":1`
		}
		length := map[string]string{"character varying": "max_length", "character": "length", "bit": "length", "bit varying": "length"}[m[1]]
		switch {
		case length != "":
			want += fmt.Sprintf(`,%q:%s`, length, m[2])
		case m[2] != "":
			want += `,"precision":` + m[2]
		}
		if m[3] != "" {
			want += `,"scale":` + m[3]
		}
		if fields, ok := strings.CutPrefix(m[1], "interval "); ok {
			want += `,"fields":` + strconv.Quote(strings.ToUpper(fields))
		}
		got := Schema([]Column{{Name: "c", Type: types[i]}})
		if !strings.HasSuffix(got, `"`+want+"}}") {
			t.Errorf("%s: %s, not %s", name, got, want)
		}
	}
}

// The types of a statement's columns are known by oid alone.
func TestTypesOfAStatement(t *testing.T) {
	conn := pgtest.DB(t).Conn(t)
	ctx := context.Background()
	sd, err := conn.Prepare(ctx, "s", "SELECT 1 AS a, ARRAY['x'::varchar(3)] AS b, ROW(1, 2) AS c, NULL AS d, ARRAY[ROW(1)] AS e, now()::timestamptz(2) AS f")
	if err != nil {
		t.Fatal(err)
	}
	var oids []uint32
	for _, f := range sd.Fields {
		oids = append(oids, f.DataTypeOID)
	}
	rows, _ := conn.Query(ctx, TypesSQL, oids)
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TypeRow])
	if err != nil {
		t.Fatal(err)
	}
	types := NewTypes(found)
	var columns []Column
	for _, f := range sd.Fields {
		typ, err := types.Type(catalog.OID(f.DataTypeOID), f.TypeModifier, 0)
		if err != nil {
			t.Fatal(err)
		}
		columns = append(columns, Column{Name: f.Name, Type: typ.InAnswer()})
	}
	if got, want := Schema(columns), `{"a":{"type":"int4"},"b":{"type":"varchar","dims":1,"max_length":3},"c":{"type":"json"},"d":{"type":"text"},"e":{"type":"json"},"f":{"type":"timestamptz","precision":2}}`; got != want {
		t.Errorf("%s", got)
	}
}
