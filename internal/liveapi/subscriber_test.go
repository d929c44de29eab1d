package liveapi_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidemarkdb/tidemark/internal/liveapi"
)

const key = "a-key-of-more-than-thirty-two-bytes!"

func sign(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func account(t *testing.T, a any, exp time.Duration) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"account": a, "exp": time.Now().Add(exp).UnixMilli() / 1000})
}

func TestSecrets(t *testing.T) {
	r := open(t, liveapi.Options{Secrets: []string{"first", "sécond & more"}})
	const uri = "/v1/shape?offset=-1&table=items"
	for _, tt := range []struct {
		query   string
		header  []string
		ok      bool
		caching string
	}{
		{"&secret=first", nil, true, exact},
		{"&api_secret=first", nil, true, exact},
		{"&secret=" + url.QueryEscape("sécond & more"), nil, true, exact},
		{"&secret=first&api_secret=first", nil, true, exact},
		{"", []string{"Authorization", "Bearer first"}, true, "private, no-cache"},
		{"", []string{"Authorization", "bearer  first"}, true, "private, no-cache"},
		// A proxy's secret counts, whatever it passes on.
		{"&secret=first", []string{"Authorization", "Bearer wrong"}, true, exact},
		{"", nil, false, ""},
		{"&secret=", nil, false, ""},
		{"&secret=firs", nil, false, ""},
		{"&secret=first2", nil, false, ""},
		{"&secret=First", nil, false, ""},
		{"&secret=first&secret=first", nil, false, ""},
		{"&secret=wrong&api_secret=first", nil, false, ""},
		{"", []string{"Authorization", "Basic first"}, false, ""},
		{"", []string{"Authorization", "first"}, false, ""},
		{"", []string{"Authorization", "Bearer"}, false, ""},
	} {
		got := r.get(uri+tt.query, tt.header...)
		if !tt.ok {
			r.problem(got, 401, "unauthorized", "", "")
			r.header(got, "Www-Authenticate", "Bearer")
			if strings.Contains(got.text, "firs") {
				t.Errorf("the credential is told: %s", got.text)
			}
			continue
		}
		r.want(got, 200, "insert 1=a")
		r.header(got, "Cache-Control", tt.caching)
	}
	// No road around it, whatever the path looks like.
	for _, u := range []string{
		"/v1/shape?offset=-1&table=items", orders + "?live=true", orders + "?offset=-1", "/v1/shape?subset__where=true&table=items",
		"/v1/shape?handle=items-1&live=true&live_sse=true&offset=100_0&table=items", "/v1/shape?offset=bad",
	} {
		r.problem(r.get(u), 401, "unauthorized", "", "")
	}
	r.problem(r.get(orders, "Accept", "text/event-stream"), 401, "unauthorized", "", "")
	r.problem(r.send("POST", "/v1/shape?table=items", "{}"), 401, "unauthorized", "", "")
	r.problem(r.send("DELETE", "/v1/shape?table=items", ""), 401, "unauthorized", "", "")
	for _, path := range []string{"//v1/shape", "/v1//shape", "/v1/./shape", "/v1/%73hape", "/v1/shape/", "/V1/SHAPE", "/x/../v1/shape"} {
		if got := r.get(path + "?offset=-1&table=items"); got.StatusCode < 400 {
			t.Errorf("%s: %s %s", path, got.Status, got.text)
		}
	}
	if text := r.log.String(); text != "" {
		t.Errorf("logged: %s", text)
	}
}

func TestAccounts(t *testing.T) {
	r := open(t, liveapi.Options{Secrets: []string{"all"}, AccountKey: key, AllowDelete: true})
	const uri = "/v1/shape?offset=-1&table=items"
	for a, want := range map[any]string{"acme": "acme", 42: "42", "42": "42"} {
		token := account(t, a, time.Hour)
		for _, got := range []reply{r.get(uri + "&secret=" + token), r.get(uri, "Authorization", "Bearer "+token)} {
			r.want(got, 200, "insert 1=a")
			r.header(got, "Cache-Control", "private, no-cache")
			if d := r.tables.Last(); d.Account == nil || *d.Account != want {
				t.Errorf("%v: asked for the account %v", a, d.Account)
			}
		}
	}
	token := account(t, "acme", time.Hour)
	r.want(r.get(orders+"?live=true", "Authorization", "Bearer "+token), 200, "insert 7=o", "snapshot-end")
	if a := r.answers.Account(); a == nil || *a != "acme" {
		t.Errorf("asked for the account %v", a)
	}
	r.want(r.get(uri+"&secret=all"), 200, "insert 1=a")
	if d := r.tables.Last(); d.Account != nil {
		t.Errorf("a secret is bound to %s", *d.Account)
	}
	r.send("POST", "/v1/shape?handle=items-1&log=changes_only&offset=100_0&table=items", "{}", "Authorization", "Bearer "+token)
	if d := r.tables.Last(); d.Account == nil || *d.Account != "acme" {
		t.Errorf("a subset is of the account %v", d.Account)
	}
	r.problem(r.get(uri+"&secret="+account(t, "stranger", time.Hour)), 403, "forbidden", "", "")
	r.problem(r.send("DELETE", "/v1/shape?table=items&secret="+token, ""), 403, "forbidden", "", "")
	now := time.Now()
	for name, token := range map[string]string{
		"expired":          account(t, "acme", -time.Minute),
		"none":             sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, jwt.MapClaims{"account": "acme"}),
		"HS512":            sign(t, jwt.SigningMethodHS512, []byte(key), jwt.MapClaims{"account": "acme"}),
		"another key":      sign(t, jwt.SigningMethodHS256, []byte("other"), jwt.MapClaims{"account": "acme"}),
		"an empty key":     sign(t, jwt.SigningMethodHS256, []byte(""), jwt.MapClaims{"account": "acme"}),
		"no account":       sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"sub": "acme"}),
		"an empty account": sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"account": ""}),
		"a list":           sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"account": []string{"acme"}}),
		"a fraction":       sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"account": 4.5}),
		"not yet":          sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"account": "acme", "nbf": now.Add(time.Hour).Unix()}),
		"a bad exp":        sign(t, jwt.SigningMethodHS256, []byte(key), jwt.MapClaims{"account": "acme", "exp": "soon"}),
		"cut short":        token[:len(token)-1],
		"changed":          token[:len(token)/2] + "A" + token[len(token)/2+1:],
		"no token":         "x.y.z",
	} {
		got := r.get(uri + "&secret=" + token)
		r.problem(got, 401, "unauthorized", "", "")
		if strings.Contains(got.text, token) || strings.Contains(r.log.String(), token) {
			t.Errorf("%s: the token is told", name)
		}
	}
	// A key alone needs a credential, too; without either, nothing is asked.
	r = open(t, liveapi.Options{AccountKey: key})
	r.problem(r.get(uri), 401, "unauthorized", "", "")
	r.want(r.get(uri+"&secret="+token), 200, "insert 1=a")
	r = open(t, liveapi.Options{Secrets: []string{"all"}})
	r.problem(r.get(uri+"&secret="+token), 401, "unauthorized", "", "")
	r = open(t, liveapi.Options{})
	r.want(r.get(uri+"&secret="+token, "Authorization", "Bearer x"), 200, "insert 1=a")
	if d := r.tables.Last(); d.Account != nil {
		t.Errorf("without a key, a token binds to %s", *d.Account)
	}
}

// TestExpiry has tokens expire while their requests wait.
func TestExpiry(t *testing.T) {
	r := open(t, liveapi.Options{AccountKey: key})
	const uri = "/v1/shape?handle=items-1&live=true&table=items&offset="
	token := "Bearer " + account(t, "acme", 2*time.Second)
	poll := r.async(uri+whole(100), "Authorization", token)
	stream := r.async(uri+whole(100)+"&live_sse=true", "Authorization", token)
	r.waits(2)
	began := time.Now()
	r.problem(<-poll, 401, "unauthorized", "", "expired")
	if s := <-stream; s.StatusCode != 200 || strings.Contains(s.text, "data:") {
		t.Errorf("%s %q", s.Status, s.text)
	}
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
	r.waits(0)
	r.problem(r.get(uri+whole(100), "Authorization", token), 401, "unauthorized", "", "expired")
}
