package server_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/tidemarkdb/tidemark/internal/server"
)

// bearer is a key as calls carry it.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }

func dial(t *testing.T, addr, key string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	if len(options) == 0 {
		options = []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	}
	conn, err := grpc.NewClient(addr, append(options, grpc.WithPerRPCCredentials(bearer(key)))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

const someSchema = "definition user {}\n\ndefinition document {\n\trelation viewer: user\n}\n"

func post(t *testing.T, c *http.Client, url, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := c.Do(req)
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

func TestTestingServer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	addresses, done := make(chan [2]string, 1), make(chan error, 1)
	go func() {
		done <- server.RunTesting(ctx, server.TestingOptions{
			GRPC: "127.0.0.1:0", HTTP: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
			Listening: func(rpc, gateway string) { addresses <- [2]string{rpc, gateway} },
		})
	}()
	var at [2]string
	select {
	case at = <-addresses:
	case err := <-done:
		t.Fatal(err)
	}
	one, two := dial(t, at[0], "one"), dial(t, at[0], "two")
	defer one.Close()
	defer two.Close()
	if _, err := v1.NewSchemaServiceClient(one).WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: someSchema}); err != nil {
		t.Fatal(err)
	}
	web := &http.Client{Transport: &http.Transport{}}
	defer web.CloseIdleConnections()
	if code, text := post(t, web, "http://"+at[1]+"/v1/schema/read", "one", "{}"); code != 200 || !strings.Contains(text, "relation viewer: user") {
		t.Errorf("through the gateway: %d %s", code, text)
	}
	if _, err := v1.NewSchemaServiceClient(two).ReadSchema(ctx, &v1.ReadSchemaRequest{}); status.Code(err) != codes.NotFound {
		t.Errorf("with another key: %v", err)
	}

	// A watch, one by each road, and a health watch see the end coming.
	watch, err := v1.NewWatchServiceClient(one).Watch(t.Context(), &v1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	health, err := healthpb.NewHealthClient(two).Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := health.Recv(); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", r, err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at[1]+"/v1/watch",
		strings.NewReader(`{"optionalUpdateKinds": ["WATCH_KIND_INCLUDE_CHECKPOINTS"]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer one")
	res, err := web.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), "changesThrough") {
		t.Errorf("the gateway's watch began with %s", lines.Text())
	}
	began := time.Now()
	stop()
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(status.Convert(err).Message(), "resume from the last token") {
		t.Errorf("the watch ended with %v", err)
	}
	if r, err := health.Recv(); err == nil && r.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health at the end: %v, %v", r, err)
	}
	if !lines.Scan() || !strings.Contains(lines.Text(), "resume from the last token") {
		t.Errorf("the gateway's watch ended with %s", lines.Text())
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if conn, err := net.Dial("tcp", at[0]); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}

func TestTestingAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, o := range []server.TestingOptions{
		{GRPC: l.Addr().String()}, {GRPC: "127.0.0.1:0", HTTP: l.Addr().String()},
	} {
		o.Log = slog.New(slog.DiscardHandler)
		if err := server.RunTesting(t.Context(), o); err == nil || !strings.Contains(err.Error(), "address already in use") {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
