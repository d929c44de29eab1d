package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TestAnswersOfSeveralAccounts: where credentials are configured, an answer with an
// account column is read by those only who may see all of it, whether it is in
// memory or not, and one account's rows are followed with a token.
func TestAnswersOfSeveralAccounts(t *testing.T) {
	f := newFollowed(t, someTables)
	f.write("endpoints/all.sql", "-- GET /v1/all\n-- key: id\n-- account: account\nSELECT id, account FROM items ORDER BY id LIMIT 5")
	f.cfg.Live.Secrets, f.cfg.Live.AccountKey = []string{"the backend's"}, "0123456789abcdef0123456789abcdef"
	r := f.serve()
	r.ready()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"account": "2"}).SignedString([]byte(f.cfg.Live.AccountKey))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(path, credential, body string) (int, string) {
		method := http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.http+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if body == "" {
			req.Body = http.NoBody
		} else {
			req.Header.Set("Content-Type", "application/json")
		}
		if credential != "" {
			req.Header.Set("Authorization", "Bearer "+credential)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(text)
	}
	for range 3 { // the answer is in memory from the first time on
		for credential, want := range map[string]int{"": 401, "wrong": 401, token: 401, f.cfg.Live.Secrets[0]: 200} {
			if code, text := ask("/v1/all", credential, ""); code != want || strings.Contains(text, `"account":1`) != (want == 200) {
				t.Errorf("with %.10q: %d %s", credential, code, text)
			}
			code, text := ask("/v1/batch", credential, `{"paths":["/v1/all","/v1/top/1"]}`)
			if code != 200 || strings.Contains(text, `"account":1`) != (want == 200) || strings.Contains(text, "unauthorized") != (want != 200) {
				t.Errorf("of several, with %.10q: %d %s", credential, code, text)
			}
		}
		if code, text := ask("/v1/top/1", "", ""); code != 200 {
			t.Errorf("an answer without an account column: %d %s", code, text)
		}
		time.Sleep(10 * time.Millisecond)
	}
	code, text := ask("/v1/all?offset=-1", token, "")
	if code != 200 || !strings.Contains(text, `"account":"2"`) || strings.Contains(text, `"account":"1"`) || strings.Contains(text, `"account":"0"`) {
		t.Errorf("followed with a token: %d %s", code, text)
	}
	if code, _ := ask("/v1/all?offset=-1", "", ""); code != 401 {
		t.Errorf("followed with nothing: %d", code)
	}
}
