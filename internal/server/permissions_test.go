package server_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/jackc/pgx/v5"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/setup"
)

// prepare makes what permissions need in the database of a configuration.
func prepare(t *testing.T, c *config.Config) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), c.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	in := setup.Input{Publication: c.Publication, Slot: c.Slot, Permissions: true}
	report, err := setup.Inspect(t.Context(), conn, in)
	if err != nil {
		t.Fatal(err)
	}
	_, err = setup.Apply(t.Context(), conn, report, setup.Patience{Lock: time.Minute, Older: time.Minute}, func(setup.Step, setup.Status, string) {})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPermissions serves them with TLS, beside answers, from one database.
func TestPermissions(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	r := start(t, func(c *config.Config) {
		prepare(t, c)
		c.Listen.GRPC, c.Listen.GRPCGateway = "127.0.0.1:0", "127.0.0.1:0"
		c.Listen.TLSCert, c.Listen.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		c.Permissions.Keys = []string{"old", "new"}
	})
	trust := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	overTLS := grpc.WithTransportCredentials(credentials.NewTLS(trust))
	conn := dial(t, r.at.GRPC, "old", overTLS)
	for {
		// Health is for everybody, and true once the relationships are there.
		h, err := healthpb.NewHealthClient(dial(t, r.at.GRPC, "none", overTLS)).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		res, body := r.get(http.DefaultClient, "http://"+r.admin+"/readyz")
		if h.GetStatus() == healthpb.HealthCheckResponse_SERVING && res.StatusCode == 200 {
			break
		}
		if res.StatusCode != 200 && res.StatusCode != 503 {
			t.Fatalf("%s: %s", res.Status, body)
		}
		time.Sleep(20 * time.Millisecond)
	}
	written, err := v1.NewSchemaServiceClient(conn).WriteSchema(t.Context(), &v1.WriteSchemaRequest{Schema: someSchema})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v1.NewSchemaServiceClient(dial(t, r.at.GRPC, "wrong", overTLS)).ReadSchema(t.Context(), &v1.ReadSchemaRequest{})
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("with a wrong key: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := v1.NewSchemaServiceClient(dial(t, r.at.GRPC, "new")).ReadSchema(short, &v1.ReadSchemaRequest{}); err == nil {
		t.Error("without TLS it was answered")
	}
	web := client(t, func(tr *http.Transport, p *http.Protocols) {
		p.SetHTTP1(true)
		p.SetHTTP2(true)
		tr.TLSClientConfig = trust
	})
	gateway := "https://" + r.at.Gateway
	if code, text := post(t, web, gateway+"/v1/schema/read", "new", "{}"); code != 200 || !strings.Contains(text, "relation viewer: user") {
		t.Errorf("through the gateway: %d %s", code, text)
	}
	if code, text := post(t, web, gateway+"/v1/schema/read", "wrong", "{}"); code != 403 {
		t.Errorf("through the gateway with a wrong key: %d %s", code, text)
	}
	// The same token is good for answers.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+r.http+"/v1/users/1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Tidemark-Consistency", `at_least_as_fresh; token="`+written.GetWrittenAt().GetToken()+`"`)
	res, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("an answer as of the schema's token: %s", res.Status)
	}
	for path, want := range map[string]string{"/v1/status": `"loaded": true`, "/metrics": "tidemark_permission_schema_version 1"} {
		if _, text := r.get(http.DefaultClient, "http://"+r.admin+path); !strings.Contains(text, want) {
			t.Errorf("%s has no %s:\n%s", path, want, text)
		}
	}
}

// TestPermissionsNeedTheirTables: what is missing is said at the start.
func TestPermissionsNeedTheirTables(t *testing.T) {
	_, err := try(t, func(c *config.Config) {
		c.Listen.GRPC, c.Permissions.Keys = "127.0.0.1:0", []string{"key"}
	})
	if err == nil || !strings.Contains(err.Error(), "run tidemark init") {
		t.Errorf("%v", err)
	}
}
