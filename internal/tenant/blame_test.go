package tenant_test

import (
	"fmt"
	"strings"
	"testing"
)

// What Postgres refuses is the client's to mend if no row had a part in it, and
// nobody's but the author's if one may have had.
func TestWhoseFault(t *testing.T) {
	endpoints := map[string]string{
		"rated":     "SELECT id FROM goods WHERE rating = :v::stars",
		"ratings":   "SELECT id FROM goods WHERE rating = ANY (:v::stars[])",
		"cast":      "SELECT id FROM goods WHERE rating = :v::int::stars",
		"both":      "SELECT id FROM goods WHERE id > :v::int OR rating = :v::stars",
		"inner":     "SELECT id FROM goods WHERE label = (CASE WHEN price > 0 THEN :v::text::uuid::text END)",
		"plain":     "SELECT id FROM goods WHERE rating = :v",
		"needed":    "SELECT id FROM goods WHERE rating = coalesce(:v::needed::int, 1)",
		"network":   "SELECT id FROM goods WHERE host = :v",
		"bits":      "SELECT id FROM goods WHERE bits = :v::bit(3)",
		"half":      "SELECT id FROM goods WHERE id = 100 / :v::int",
		"share":     "SELECT id FROM goods WHERE id = :w::int / :v::int",
		"branch":    "SELECT id, CASE WHEN :v::int <> 0 THEN 10 / :v ELSE 0 END AS x FROM goods WHERE id > 0 AND price > 0",
		"per":       "SELECT id, :v::int / price AS x FROM goods",
		"per_param": "SELECT id, price / :v::int AS x FROM goods",
		"text":      "SELECT id, label::int AS x FROM goods WHERE id = :v",
		"starred":   "SELECT id, price::stars AS x FROM goods WHERE id = :v",
		"page":      "SELECT id FROM goods ORDER BY id LIMIT :v",
		"capped":    "SELECT id FROM goods ORDER BY id LIMIT least(coalesce(:v::int, 10), 100)",
		"most":      "SELECT id FROM goods ORDER BY id LIMIT greatest(:v, 1)",
		"offset":    "SELECT id FROM goods ORDER BY id LIMIT 2 OFFSET :v::bigint",
		"limited":   "SELECT g.id, (SELECT count(*) FROM (SELECT FROM goods LIMIT g.price) o) AS x FROM goods g WHERE g.id <> :v",
		"search":    "SELECT id FROM goods WHERE label ~ :v",
	}
	files := map[string]string{}
	for name, sql := range endpoints {
		files[name+".sql"] = fmt.Sprintf("-- GET /v1/%s\n%s", name, sql)
	}
	r := newRig(t, `
		CREATE DOMAIN stars AS int CHECK (VALUE BETWEEN 1 AND 5);
		CREATE DOMAIN needed AS int NOT NULL;
		CREATE TABLE goods (id int PRIMARY KEY, rating stars, host inet, bits bit(3), price int, label text);
		INSERT INTO goods VALUES (1, 1, '10.0.0.1', '101', 3, '7'), (2, 5, NULL, NULL, 0, 'seven'), (3, 3, NULL, NULL, -1, '9');
		ALTER TABLE goods REPLICA IDENTITY FULL; CREATE PUBLICATION tidemark FOR ALL TABLES`,
		files, nil)
	const fine, statement = "", "the statement"
	for _, tt := range []struct{ path, fault string }{
		{"rated?v=3", fine},
		{"rated?v=6", "v"},
		{"rated?v=-1", "v"},
		{"rated", fine},
		{"ratings?v={1,5}", fine},
		{"ratings?v={1,6}", "v"},
		{"cast?v=3", fine},
		{"cast?v=9", "v"},
		{"both?v=4", fine},
		{"both?v=9", "v"},
		{"plain?v=9", fine},
		{"inner?v=00000000-0000-0000-0000-000000000001", fine},
		{"inner?v=soon", "v"},
		{"needed?v=3", fine},
		{"needed", "v"},
		{"network?v=10.0.0.1", fine},
		{"network?v=10.0.0.300", "v"},
		{"bits?v=101", fine},
		{"bits?v=12", "v"},
		{"half?v=50", fine},
		{"half?v=0", "v"},
		{"share?v=2&w=4", fine},
		{"share?v=0&w=4", "?"},
		{"share?v=0", fine},
		{"branch?v=0", fine},
		{"branch?v=2", fine},
		{"per?v=1", statement},
		{"per?v=0", statement},
		{"per_param?v=0", statement},
		{"text?v=1", fine},
		{"text?v=2", statement},
		{"starred?v=1", fine},
		{"starred?v=2", statement},
		{"page?v=2", fine},
		{"page?v=-1", "v"},
		{"page", fine},
		{"capped?v=2", fine},
		{"capped?v=-1", "v"},
		{"capped", fine},
		{"most?v=-1", fine},
		{"offset?v=1", fine},
		{"offset?v=-1", "v"},
		{"limited?v=3", fine},
		{"limited?v=1", statement},
		{"search?v=s", fine},
		{"search?v=(", "v"},
	} {
		got := r.get("/v1/" + tt.path)
		var ok bool
		switch tt.fault {
		case fine:
			ok = got.status == 200
		case statement:
			ok = got.status == 500 && strings.Contains(got.body, "endpoint-error")
		case "?":
			ok = got.status == 400 && strings.Contains(got.body, "bad-parameter") && !strings.Contains(got.body, `"parameter"`)
		default:
			ok = got.status == 400 && strings.Contains(got.body, fmt.Sprintf(`"parameter":%q`, tt.fault))
		}
		if !ok {
			t.Errorf("%s: want the fault of %q, got %d %s", tt.path, tt.fault, got.status, got.body)
		}
	}
	// A row that is wrong now is no reason to blame the same request later.
	r.db.Exec(t, "UPDATE goods SET label = '8' WHERE id = 2")
	r.want("/v1/text?v=2", `[{"id":2,"x":8}]`)
}
