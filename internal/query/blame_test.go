package query

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// randomLimit returns an expression over :a and :b.
func randomLimit(r *rand.Rand, depth int) string {
	if depth == 0 || r.IntN(4) == 0 {
		return []string{":a::int", ":b::bigint", strconv.Itoa(r.IntN(7) - 3), "NULL::int", ":a::int + 1", "abs(:b::bigint)"}[r.IntN(6)]
	}
	switch r.IntN(5) {
	case 0, 1, 2:
		var args []string
		for range 1 + r.IntN(3) {
			args = append(args, randomLimit(r, depth-1))
		}
		return []string{"coalesce", "least", "greatest"}[r.IntN(3)] + "(" + strings.Join(args, ", ") + ")"
	case 3:
		return "(" + randomLimit(r, depth-1) + ")::" + []string{"int", "bigint", "smallint", "numeric", "text::int"}[r.IntN(5)]
	}
	return "CASE WHEN :a::int > 0 THEN " + randomLimit(r, depth-1) + " END"
}

// A LIMIT or OFFSET that is called negative is one that Postgres refuses, with
// rows and without.
func TestNegativeLimit(t *testing.T) {
	db := pgtest.DB(t)
	conn := settled(t, db)
	db.Exec(t, "CREATE TABLE goods (id int PRIMARY KEY); CREATE PUBLICATION tidemark FOR ALL TABLES")
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	negative, overlooked := 0, 0
	for range 60 {
		clause := []string{"LIMIT", "OFFSET"}[r.IntN(2)]
		sql := fmt.Sprintf("SELECT id FROM goods WHERE id <> coalesce(:a::int, :b::bigint, 0) ORDER BY id %s %s", clause, randomLimit(r, 3))
		e, problems := endpointOf(t, conn, sql)
		if e == nil {
			t.Fatalf("%s: %v", sql, problems)
		}
		for range 6 {
			values := url.Values{}
			for _, name := range []string{"a", "b"} {
				if n := r.IntN(8) - 4; n < 3 {
					values.Set(name, strconv.Itoa(n))
				}
			}
			b, err := e.Bind(nil, values)
			if err != nil {
				t.Fatal(err)
			}
			_, said := b.NegativeLimit()
			err = conn.PgConn().ExecParams(context.Background(), e.SQL, b.Args, e.ParamTypes(), nil, nil).Read().Err
			var pg *pgconn.PgError
			refused := errors.As(err, &pg) && (pg.Code == "2201W" || pg.Code == "2201X")
			switch {
			case said && !refused:
				t.Errorf("seed %d: %s with %v is said to be negative, and Postgres says %v", seed, sql, values, err)
			case said:
				negative++
			case refused:
				overlooked++ // a CASE, an operator, a cast from text
			}
		}
	}
	if negative < 5 {
		t.Errorf("seed %d: only %d were negative", seed, negative)
	}
	t.Logf("%d negative, %d overlooked", negative, overlooked)
}

func TestCoerced(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE DOMAIN stars AS int CHECK (VALUE BETWEEN 1 AND 5); CREATE TABLE goods (id int PRIMARY KEY, rating stars);
		CREATE FUNCTION rated(n stars) RETURNS boolean IMMUTABLE LANGUAGE sql RETURN n > 2;
		CREATE PUBLICATION tidemark FOR ALL TABLES`)
	conn := settled(t, db)
	for sql, want := range map[string]string{
		"SELECT id FROM goods WHERE id = :v::int OR rating = :v::stars":   "stars 9 v",
		"SELECT id FROM goods WHERE id = :v::int AND rated(:v)":           "stars 9 v",
		"SELECT id FROM goods WHERE rating = coalesce(:v::int, 3)::stars": "stars 9 ",
		"SELECT id FROM goods WHERE id::stars > :v::int":                  "",
		"SELECT :v::int::text AS x, id FROM goods":                        "",
		"SELECT id FROM goods WHERE id = :v::text::int":                   "integer 9 v",
	} {
		e, problems := endpointOf(t, conn, sql)
		if e == nil {
			t.Fatalf("%s: %v", sql, problems)
		}
		b, err := e.Bind(nil, url.Values{"v": {"9"}})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, c := range b.Coerced() {
			var name string
			if err := conn.QueryRow(context.Background(), "SELECT format_type($1, NULL)", c.Type).Scan(&name); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%s %s %s", name, c.Text, c.Param))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %q, want %q", sql, s, want)
		}
	}
}
