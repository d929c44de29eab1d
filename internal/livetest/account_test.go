package livetest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"
)

const (
	someSecret = "a-secret-of-the-tests"
	accountKey = "0123456789abcdef0123456789abcdef"
)

// signed is a JSON Web Token (RFC 7519).
func signed(alg, key string, claims map[string]any) string {
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]string{"alg": alg, "typ": "JWT"}) + "." + part(claims)
	if alg == "none" {
		return text + "."
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func tokenOf(account any) string {
	return signed("HS256", accountKey, map[string]any{"account": account, "exp": time.Now().Add(time.Hour).Unix()})
}

// TestAccounts has subscribers that may see everything, and such that are bound
// to an account.
func TestAccounts(t *testing.T) {
	play(t, fmt.Sprintf("secrets: [%q]\naccount_key: %q\n", someSecret, accountKey), scenario{
		name: "accounts",
		schema: `CREATE SCHEMA own;
			CREATE TABLE own.orders (id int PRIMARY KEY, account_id text NOT NULL, total int);
			CREATE TABLE open (id int PRIMARY KEY);
			INSERT INTO own.orders SELECT i, (i % 3)::text, i FROM generate_series(1, 30) i;`,
		tables: "- table: own.orders\n  account: account_id\n",
		endpoints: map[string]string{
			"latest.sql": "-- GET /v1/latest\n-- key: id\n-- account: account_id\nSELECT id, account_id, total FROM own.orders ORDER BY total DESC, id LIMIT 12\n",
			"free.sql":   "-- GET /v1/free\nSELECT id FROM open\n",
		},
		run: accounts,
	})
}

func accounts(t *testing.T, w *world) {
	b := newBook(t, w.db)
	orders := func(more string) map[string]string {
		return map[string]string{"table": "own.orders", "offset": "-1", "secret": more}
	}
	for _, c := range []struct {
		what   string
		params map[string]string
		header string
		want   int
	}{
		{"no secret", map[string]string{"table": "own.orders", "offset": "-1"}, "", 401},
		{"another secret", orders("wrong"), "", 401},
		{"the secret", orders(someSecret), "", 200},
		{"the secret under its old name", map[string]string{"table": "own.orders", "offset": "-1", "api_secret": someSecret}, "", 200},
		{"the secret in a header", map[string]string{"table": "own.orders", "offset": "-1"}, "Bearer " + someSecret, 200},
		{"a token", orders(tokenOf("1")), "", 200},
		{"a token in a header", map[string]string{"table": "own.orders", "offset": "-1"}, "Bearer " + tokenOf("1"), 200},
		{"a token with another key", orders(signed("HS256", "another key, which is long enough!", map[string]any{"account": "1"})), "", 401},
		{"a token without a signature", orders(signed("none", "", map[string]any{"account": "1"})), "", 401},
		{"a token that is over", orders(signed("HS256", accountKey, map[string]any{"account": "1", "exp": time.Now().Add(-time.Hour).Unix()})), "", 401},
		{"a token without an account", orders(signed("HS256", accountKey, map[string]any{"sub": "1"})), "", 401},
		{"a token, on a table without accounts", map[string]string{"table": "open", "offset": "-1", "secret": tokenOf("1")}, "", 403},
	} {
		headers := []string{}
		if c.header != "" {
			headers = append(headers, "Authorization", c.header)
		}
		if r := w.ask(http.MethodGet, "/v1/shape", c.params, headers...); r.status != c.want {
			t.Errorf("%s: %s, want %d", c.what, r, c.want)
		}
	}
	if r := w.ask(http.MethodGet, "/v1/free", map[string]string{"offset": "-1", "secret": tokenOf("1")}); r.status != 403 {
		t.Errorf("a token, on an endpoint without accounts: %s", r)
	}

	const latest = "SELECT id, account_id, total FROM own.orders ORDER BY total DESC, id LIMIT 12"
	var all []*follower
	bearer := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
	all = append(all,
		w.follow(t, b.view("SELECT * FROM own.orders"), following{params: map[string]any{"table": "own.orders", "secret": someSecret}}),
		w.follow(t, b.view(latest), following{path: "/v1/latest", headers: bearer(someSecret)}),
	)
	for i, account := range []string{"0", "1", "2", "nobody"} {
		mine := "account_id = '" + account + "'"
		all = append(all,
			w.follow(t, b.view("SELECT * FROM own.orders WHERE "+mine), following{params: map[string]any{"table": "own.orders", "replica": "full"}, headers: bearer(tokenOf(account)), sse: i%2 == 0}),
			w.follow(t, b.view("SELECT * FROM own.orders WHERE "+mine+" AND (total > 10 OR true)"),
				following{params: map[string]any{"table": "own.orders", "where": "total > 10 OR true", "secret": tokenOf(account)}}),
			w.follow(t, b.view("SELECT * FROM ("+latest+") l WHERE "+mine), following{path: "/v1/latest", headers: bearer(tokenOf(account)), sse: i%2 == 1}),
		)
	}
	for range 25 {
		id := 1 + w.rng.IntN(40)
		b.do("INSERT INTO own.orders VALUES (%d, '%d', %d) ON CONFLICT (id) DO UPDATE SET total = excluded.total, account_id = excluded.account_id", id, w.rng.IntN(3), w.rng.IntN(60))
		if w.rng.IntN(4) == 0 {
			b.do("DELETE FROM own.orders WHERE id = %d", 1+w.rng.IntN(40))
		}
	}
	for _, f := range all {
		f.settle()
	}

	// The place of another's shape opens nothing, by whatever road.
	theirs := all[2]
	for _, path := range []string{"/v1/shape", "/v1/latest"} {
		if path == "/v1/latest" {
			theirs = all[4]
		}
		for _, token := range []string{tokenOf("1"), tokenOf("nobody")} {
			for _, offset := range []string{"-1", "0_0", theirs.offset} {
				params := map[string]string{"offset": offset, "handle": theirs.handle, "secret": token}
				if path == "/v1/shape" {
					params["table"] = "own.orders"
				}
				r := w.ask(http.MethodGet, path, params)
				if r.status != http.StatusConflict && !(r.status == http.StatusOK && offset == "-1") {
					t.Errorf("%s with the handle of another: %s", path, r)
				}
				for _, m := range r.messages {
					if m.Value != nil && m.Value["account_id"] == "0" {
						t.Errorf("%s with the handle of another has their row %v", path, m.Value)
					}
				}
			}
		}
	}
	r := w.ask(http.MethodGet, "/v1/shape", map[string]string{"table": "own.orders", "offset": "now", "log": "changes_only", "secret": tokenOf("1"), "subset__where": "account_id = '2' OR true", "subset__limit": "100", "subset__order_by": "id"})
	if r.status != http.StatusOK {
		t.Errorf("a subset of one's own rows: %s", r)
	}
	var subset struct{ Data []message }
	if err := json.Unmarshal([]byte(r.body), &subset); err != nil {
		t.Errorf("%v: %s", err, r)
	}
	for _, m := range subset.Data {
		if m.Value["account_id"] != "1" {
			t.Errorf("a subset has the row of another: %v", m.Value)
		}
	}
	if len(subset.Data) == 0 {
		t.Error("a subset of one's own rows is empty")
	}
}
