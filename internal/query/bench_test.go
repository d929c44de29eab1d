package query

import (
	"net/url"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// What a request costs here: finding the endpoint and the key of its answer on
// every request, the dependencies on a miss.
func BenchmarkRequest(b *testing.B) {
	db := pgtest.DB(b)
	db.Exec(b, "CREATE TABLE orders (id int, user_id int, status varchar(10), total numeric, created_at timestamptz); CREATE PUBLICATION tidemark FOR ALL TABLES")
	f, problems := ParseFile("orders.sql", []byte(`-- GET /v1/users/{id}/orders
SELECT id, total FROM orders WHERE user_id = :id AND (:status::text IS NULL OR status = :status)
ORDER BY created_at DESC, id LIMIT coalesce(:limit::int, 50)`))
	if problems != nil {
		b.Fatal(problems)
	}
	e, problems, err := Analyze(b.Context(), db.Conn(b), f, Options{Publication: "tidemark"})
	if e == nil {
		b.Fatal(problems, err)
	}
	router := NewRouter([]*Endpoint{e})
	bind := func(b *testing.B) *Binding {
		e, args, ok := router.Match("/v1/users/42/orders")
		query, _ := url.ParseQuery("status=open&limit=20")
		if !ok {
			b.Fatal("no match")
		}
		binding, err := e.Bind(args, query)
		if err != nil {
			b.Fatal(err)
		}
		return binding
	}
	b.Run("key", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bind(b)
		}
	})
	binding := bind(b)
	b.Run("dependencies", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			binding.Deps()
		}
	})
	b.Run("analyze", func(b *testing.B) {
		conn := db.Conn(b)
		for b.Loop() {
			if e, _, _ := Analyze(b.Context(), conn, f, Options{Publication: "tidemark"}); e == nil {
				b.Fatal("not analysed")
			}
		}
	})
}
