package query

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// TestBatchOracle compares the answers of a batch with those of each of its
// bindings, for the queries of TestOracle.
func TestBatchOracle(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, oracleSchema)
	conn := settled(t, db)
	o := &oracle{t: t, conn: conn}
	p := &pageOracle{t: t, conn: conn}
	o.exec("SET jit = off; SET ROLE oracle_reader")
	first, n := *oracleSeed, 1
	if first == 0 {
		first, n = rand.Uint64(), *oracleQueries
		t.Logf("first seed %d", first)
	}
	batched, params := 0, 0
	for i := range n {
		seed := first + uint64(i)
		g := &generator{rnd: rand.New(rand.NewPCG(seed, 3))}
		sql := g.statement()
		e, _ := endpointOf(t, conn, sql)
		if e == nil || len(e.Params) == 0 {
			continue
		}
		params++
		many := e.Statement(Plain, true)
		if many == "" {
			t.Logf("not batched: %s", sql)
			continue
		}
		batched++
		o.exec("BEGIN")
		o.fill(g)
		var all []*Binding
		for range 5 {
			values := url.Values{}
			for _, name := range slices.Sorted(maps.Keys(g.params)) {
				if _, used := e.byName[name]; used && g.rnd.IntN(4) > 0 {
					values.Set(name, g.value(g.params[name]))
				}
			}
			b, err := e.Bind(nil, values)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			all = append(all, b)
		}
		got := p.many(many, all)
		for i, b := range all {
			want := textsOf(p.rows(e.Statement(Plain, false), b.Args, e.ParamTypes()))
			have := textsOf(got[i])
			// Without ORDER BY, rows are in no order.
			slices.Sort(want)
			slices.Sort(have)
			if !slices.Equal(want, have) {
				t.Errorf("seed %d: in a batch, %s\nwith %s\ngives %s\nwant  %s", seed, sql, b.Key, have, want)
			}
		}
		o.exec("ROLLBACK; SET ROLE oracle_reader")
		if t.Failed() {
			return
		}
	}
	t.Logf("%d of %d queries with parameters are batched", batched, params)
	if n > 1 && (batched < params*9/10 || params < n/8) {
		t.Errorf("%d of %d queries with parameters are batched", batched, params)
	}
}

// many runs a batch and returns the rows of each binding.
func (o *pageOracle) many(sql string, of []*Binding) [][]change.Row {
	args, types := batchArgs(of, len(of[0].Endpoint.Params))
	got := make([][]change.Row, len(of))
	for _, r := range o.rows(sql, args, types) {
		n := 0
		if _, err := fmt.Sscan(string(r[0].Text), &n); err != nil || n < 1 || n > len(of) {
			o.t.Fatalf("a row of binding %s", r[0].Text)
		}
		got[n-1] = append(got[n-1], r[1:])
	}
	return got
}

func textsOf(rows []change.Row) []string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%q", r))
	}
	return out
}

// A parameter of a batch is what the parameter is alone, for every type.
func TestBatchTypes(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE PUBLICATION tidemark FOR ALL TABLES;
		CREATE TYPE mood AS ENUM ('sad', 'so so');
		CREATE DOMAIN positive AS int CHECK (VALUE > 0);
		CREATE DOMAIN word AS text CHECK (VALUE <> 'x');
		CREATE DOMAIN short AS varchar(3);
		CREATE TYPE pair AS (a int, b text);
		CREATE TYPE odd;
		CREATE FUNCTION odd_in(cstring) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'textin';
		CREATE FUNCTION odd_out(odd) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'textout';
		CREATE TYPE odd (INPUT = odd_in, OUTPUT = odd_out, LIKE = text);
		CREATE FUNCTION to_odd(text) RETURNS odd LANGUAGE internal IMMUTABLE STRICT AS 'upper';
		CREATE CAST (text AS odd) WITH FUNCTION to_odd(text);
		CREATE DOMAIN odder AS odd`)
	conn := settled(t, db)
	o := &pageOracle{t: t, conn: conn}
	types := map[string][]string{
		"mood": {"sad", "so so"}, "positive": {"1", "12"}, "word": {"a", ""}, "pair": {`(1,"a b")`, "(,)"},
		"text[]": {`{a,"b\"c",NULL}`, "{}"}, "mood[]": {`{sad,"so so"}`}, "positive[]": {"{1,2}"},
		"character": {"abc", "a "}, "char(3)": {"ab"}, "bit": {"1", "101"}, "bit(2)": {"10"}, "varbit": {"", "11"}, `"char"`: {"a"},
		"bytea": {`\x00ff`}, "jsonb": {`{"a":1}`}, "json": {`{"a": 1}`}, "interval": {"1 day"}, "inet": {"10.0.0.1/8"}, "int4range": {"[1,3)"},
		"point": {"(1,2)"}, "tsvector": {"a b"}, "varchar": {"  a "}, "varchar(2)": {"ab"},
	}
	for _, c := range paramCases {
		for i := 0; i+1 < len(c.good); i += 2 {
			types[c.typ] = append(types[c.typ], c.good[i])
		}
	}
	for typ, values := range types {
		e, problems := endpointOf(t, conn, "-- volatile: ok\n-- ttl: 1s\nSELECT :x::"+typ+" AS x, pg_typeof(:x::"+typ+")::text AS t")
		if e == nil {
			t.Errorf("%s: %v", typ, problems)
			continue
		}
		many := e.Statement(Plain, true)
		if many == "" {
			t.Errorf("%s is not batched", typ)
			continue
		}
		var all []*Binding
		for _, v := range values {
			b, err := e.Bind(nil, url.Values{"x": {v}})
			if err != nil {
				t.Fatalf("%s: %v", typ, err)
			}
			all = append(all, b)
		}
		null, _ := e.Bind(nil, nil)
		all = append(all, null)
		for i, rows := range o.many(many, all) {
			want := textsOf(o.rows(e.FillSQL(), all[i].Args, e.ParamTypes()))
			if got := textsOf(rows); !slices.Equal(got, want) {
				t.Errorf("%s: %s gives %s, want %s", typ, all[i].Key, got, want)
			}
		}
	}
	for _, typ := range []string{"short", "odd", "odder", "name"} {
		if e, problems := endpointOf(t, conn, "-- volatile: ok\n-- ttl: 1s\nSELECT :x::"+typ+" AS x"); e == nil {
			t.Errorf("%s: %v", typ, problems)
		} else if many := e.Statement(Plain, true); many != "" {
			t.Errorf("%s is batched: %s", typ, many)
		}
	}
}
