package grpcapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/authzed/authzed-go/proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tidemarkdb/tidemark/internal/grpcapi"
	"github.com/tidemarkdb/tidemark/internal/perm/memory"
)

// gateway serves HTTP before a server, and returns where.
func gateway(t *testing.T) string {
	t.Helper()
	_, addr := start(t, grpcapi.Options{Backend: grpcapi.Keys([]string{key}, memory.New(time.Minute)), Heartbeat: 20 * time.Millisecond})
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	h, err := grpcapi.Gateway(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func post(t *testing.T, url, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

const (
	viewOfPlan = `"resource":{"objectType":"document","objectId":"plan"},"permission":"view"`
	byAna      = `"subject":{"object":{"objectType":"user","objectId":"ana"}}`
	readerAna  = `{"resource":{"objectType":"document","objectId":"%"},"relation":"reader","subject":{"object":{"objectType":"user","objectId":"ana"}}}`
)

// TestGateway calls every path over HTTP.
func TestGateway(t *testing.T) {
	url := gateway(t)
	quoted, err := json.Marshal(documents)
	if err != nil {
		t.Fatal(err)
	}
	reader := func(id string) string { return strings.ReplaceAll(readerAna, "%", id) }
	calls := []struct{ path, body, want string }{
		{"schema/write", `{"schema":` + string(quoted) + `}`, `"writtenAt":{"token":"tm1`},
		{"schema/read", `{}`, `definition document`},
		{"relationships/write", `{"updates":[{"operation":"OPERATION_TOUCH","relationship":` + reader("plan") + `}]}`, `"writtenAt":{"token":"tm1`},
		{"permissions/check", `{"consistency":{"fullyConsistent":true},` + viewOfPlan + `,` + byAna + `}`, `"permissionship":"PERMISSIONSHIP_HAS_PERMISSION"`},
		{"permissions/checkbulk", `{"items":[{` + viewOfPlan + `,` + byAna + `}]}`, `"permissionship":"PERMISSIONSHIP_HAS_PERMISSION"`},
		{"permissions/expand", `{` + viewOfPlan + `}`, `"operation":"OPERATION_EXCLUSION"`},
		{"permissions/resources", `{"resourceObjectType":"document","permission":"view",` + byAna + `}`, `{"result":{"lookedUpAt":`},
		{"permissions/subjects", `{` + viewOfPlan + `,"subjectObjectType":"user"}`, `"subjectObjectId":"ana"`},
		{"relationships/read", `{"relationshipFilter":{"resourceType":"document"}}`, `"objectId":"plan"`},
		{"relationships/importbulk", `{"relationships":[` + reader("a") + `,` + reader("b") + `]}` + "\n" + `{"relationships":[` + reader("c") + `]}`, `"numLoaded":"3"`},
		{"relationships/exportbulk", `{"optionalLimit":1}`, `"objectId":"c"`},
		{"relationships/delete", `{"relationshipFilter":{"resourceType":"document","optionalResourceId":"c"}}`, `"relationshipsDeletedCount":"1"`},
		{"schema/reflectschema", `{}`, `"name":"office_hours"`},
		{"schema/diffschema", `{"comparisonSchema":"definition user {}"}`, `"definitionRemoved"`},
		{"schema/permissions/computable", `{"definitionName":"document","relationName":"reader"}`, `"relationName":"view"`},
		{"schema/permissions/dependent", `{"definitionName":"document","permissionName":"view"}`, `"relationName":"banned"`},
		{"experimental/registerrelationshipcounter", `{"name":"readers","relationshipFilter":{"resourceType":"document"}}`, `{}`},
		{"experimental/countrelationships", `{"name":"readers"}`, `"relationshipCount":"3"`},
		{"experimental/unregisterrelationshipcounter", `{"name":"readers"}`, `{}`},
		{"experimental/relationships/bulkimport", `{"relationships":[` + reader("d") + `]}`, `"numLoaded":"1"`},
		{"experimental/relationships/bulkexport", `{}`, `"objectId":"d"`},
		{"experimental/permissions/bulkcheckpermission", `{"items":[{` + viewOfPlan + `,` + byAna + `}]}`, `"permissionship":"PERMISSIONSHIP_HAS_PERMISSION"`},
		{"experimental/reflectschema", `{}`, `"name":"office_hours"`},
		{"experimental/diffschema", `{"comparisonSchema":"definition user {}"}`, `"definitionRemoved"`},
		{"experimental/permissions/computable", `{"definitionName":"document","relationName":"reader"}`, `"relationName":"view"`},
		{"experimental/permissions/dependent", `{"definitionName":"document","permissionName":"view"}`, `"relationName":"banned"`},
	}
	for _, tt := range calls {
		code, body := post(t, url+"/v1/"+tt.path, key, tt.body)
		if code != http.StatusOK || !strings.Contains(body, tt.want) {
			t.Errorf("%s: %d %.600s, want %s", tt.path, code, body, tt.want)
		}
		for given, want := range map[string]int{"": http.StatusUnauthorized, "x": http.StatusForbidden} {
			// What is not known before a stream begins comes in the stream.
			code, body := post(t, url+"/v1/"+tt.path, given, tt.body)
			if code != want {
				t.Errorf("%s with the key %q: %d %.300s, want %d", tt.path, given, code, body, want)
			}
		}
	}
	var api struct{ Paths map[string]any }
	if err := json.Unmarshal([]byte(proto.OpenAPISchema), &api); err != nil {
		t.Fatal(err)
	}
	for path := range api.Paths {
		found := path == "/v1/watch"
		for _, tt := range calls {
			found = found || "/v1/"+tt.path == path
		}
		if !found {
			t.Errorf("%s was not called", path)
		}
	}
	if len(api.Paths) != len(calls)+1 {
		t.Errorf("%d paths, %d calls", len(api.Paths), len(calls)+1)
	}
}

func TestGatewayErrors(t *testing.T) {
	url := gateway(t)
	quoted, _ := json.Marshal(documents)
	post(t, url+"/v1/schema/write", key, `{"schema":`+string(quoted)+`}`)
	for _, tt := range []struct {
		path, body string
		code       int
		want       string
	}{
		{"permissions/check", `{"resource":{"objectType":"nothing","objectId":"plan"},"permission":"view",` + byAna + `}`, http.StatusBadRequest, `"reason":"ERROR_REASON_UNKNOWN_DEFINITION"`},
		{"permissions/check", `{"resource":`, http.StatusBadRequest, `"code":3`},
		{"permissions/check", `{}`, http.StatusBadRequest, `Violations`},
		{"permissions/resources", `{"resourceObjectType":"nothing","permission":"view",` + byAna + `}`, http.StatusBadRequest, `"reason":"ERROR_REASON_UNKNOWN_DEFINITION"`},
		{"relationships/write", `{"updates":[{"operation":"OPERATION_TOUCH","relationship":` + strings.ReplaceAll(readerAna, "reader", "view") + `}]}`, http.StatusBadRequest, `"code":3`},
		{"permissions/subjects", `{` + viewOfPlan + `,"subjectObjectType":"user","optionalConcreteLimit":1}`, http.StatusNotImplemented, `"code":12`},
		{"nothing", `{}`, http.StatusNotFound, `"code":5`},
	} {
		code, body := post(t, url+"/v1/"+tt.path, key, tt.body)
		if code != tt.code || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s, want %d %s", tt.path, tt.body, code, body, tt.code, tt.want)
		}
	}
	resp, err := http.Get(url + "/v1/permissions/check")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotImplemented && resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", resp.Status)
	}
	resp, err = http.Get(url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var api struct{ Paths map[string]any }
	if err := json.NewDecoder(resp.Body).Decode(&api); err != nil || len(api.Paths) != 27 {
		t.Errorf("%d paths, %v", len(api.Paths), err)
	}
}

// TestGatewayLargeAnswer gets more than a message that clients take as they come.
func TestGatewayLargeAnswer(t *testing.T) {
	url := gateway(t)
	quoted, _ := json.Marshal(documents)
	post(t, url+"/v1/schema/write", key, `{"schema":`+string(quoted)+`}`)
	item := `{"resource":{"objectType":"document","objectId":"` + strings.Repeat("x", 1000) + `"},"permission":"view",` + byAna + `},`
	code, body := post(t, url+"/v1/permissions/checkbulk", key, `{"items":[`+strings.TrimSuffix(strings.Repeat(item, 6000), ",")+`]}`)
	if code != http.StatusOK || strings.Count(body, "NO_PERMISSION") != 6000 {
		t.Errorf("%d %.300s", code, body)
	}
}

// TestGatewayWatch reads from a stream that has no end.
func TestGatewayWatch(t *testing.T) {
	url := gateway(t)
	quoted, _ := json.Marshal(documents)
	post(t, url+"/v1/schema/write", key, `{"schema":`+string(quoted)+`}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/watch",
		strings.NewReader(`{"optionalUpdateKinds":["WATCH_KIND_INCLUDE_CHECKPOINTS","WATCH_KIND_INCLUDE_RELATIONSHIP_UPDATES"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	var m struct {
		Result struct {
			IsCheckpoint bool
			Updates      []struct{ Operation string }
		}
	}
	if err := d.Decode(&m); err != nil || !m.Result.IsCheckpoint {
		t.Fatal(m, err)
	}
	post(t, url+"/v1/relationships/write", key, `{"updates":[{"operation":"OPERATION_TOUCH","relationship":`+strings.ReplaceAll(readerAna, "%", "plan")+`}]}`)
	m.Result.IsCheckpoint = false
	if err := d.Decode(&m); err != nil || len(m.Result.Updates) != 1 || m.Result.Updates[0].Operation != "OPERATION_TOUCH" {
		t.Error(m, err)
	}
}
