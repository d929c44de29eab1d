package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/server"
)

type running struct {
	t           *testing.T
	http, admin string
	at          server.Addresses
	dir         string
	reload      chan struct{}
	log         *lockedBuffer
	stop        func() error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, change func(*config.Config)) *running {
	t.Helper()
	r, err := try(t, change)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// try starts a server, which may fail.
func try(t *testing.T, change func(*config.Config)) (*running, error) {
	t.Helper()
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'one');
		CREATE PUBLICATION tidemark FOR TABLE users`)
	r := &running{t: t, dir: t.TempDir(), reload: make(chan struct{}), log: &lockedBuffer{}}
	r.file("user.sql", "-- GET /v1/users/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id")
	r.file("slow.sql", "-- GET /v1/slow\nSELECT count(*) AS n FROM users, generate_series(1, 3000000) g")
	cfg := &config.Config{
		Database: db.DSN(), Endpoints: r.dir, Slot: "server_" + db.Name, Publication: "tidemark",
		Listen:      config.Listen{HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0"},
		Consistency: config.Consistency{WaitTimeout: 5 * time.Second, GCWindow: time.Minute, RevisionQuantizationInterval: 5 * time.Second},
		Cache:       config.Cache{MaxMemory: 64 << 20, TTL: time.Hour},
		Fill:        config.Fill{MaxConnections: 4, StatementTimeout: 20 * time.Second},
	}
	if change != nil {
		change(cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	listening, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- server.Run(ctx, cfg, server.Options{
			Reload: r.reload, Log: slog.New(slog.NewTextHandler(r.log, nil)),
			Listening: func(at server.Addresses) { r.http, r.admin, r.at = at.HTTP, at.Admin, at; close(listening) },
		})
	}()
	var once sync.Once
	var result error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			result = <-done
		})
		return result
	}
	select {
	case <-listening:
	case err := <-done:
		cancel()
		return nil, err
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	return r, nil
}

func (r *running) file(name, text string) {
	// Renamed into place, as editors do: a reload may be under way.
	tmp := filepath.Join(r.t.TempDir(), name)
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(r.dir, name)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) get(c *http.Client, url string) (*http.Response, string) {
	r.t.Helper()
	res, err := c.Get(url)
	if err != nil {
		r.t.Error(err)
		return &http.Response{}, ""
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Error(err)
	}
	return res, string(body)
}

func client(t *testing.T, set func(*http.Transport, *http.Protocols)) *http.Client {
	tr, p := &http.Transport{}, &http.Protocols{}
	set(tr, p)
	tr.Protocols = p
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestProtocols(t *testing.T) {
	dir := t.TempDir()
	pool := certificate(t, dir)
	plain := start(t, nil)
	secure := start(t, func(c *config.Config) {
		c.Listen.TLSCert, c.Listen.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	})

	for _, tt := range []struct {
		name, url, proto string
		client           *http.Client
	}{
		{"HTTP/1.1", "http://" + plain.http, "HTTP/1.1", client(t, func(_ *http.Transport, p *http.Protocols) { p.SetHTTP1(true) })},
		{"HTTP/2 with prior knowledge", "http://" + plain.http, "HTTP/2.0", client(t, func(_ *http.Transport, p *http.Protocols) { p.SetUnencryptedHTTP2(true) })},
		{"HTTP/1.1 over TLS", "https://" + secure.http, "HTTP/1.1", client(t, func(tr *http.Transport, p *http.Protocols) {
			p.SetHTTP1(true)
			tr.TLSClientConfig = &tls.Config{RootCAs: pool}
		})},
		{"HTTP/2 over TLS", "https://" + secure.http, "HTTP/2.0", client(t, func(tr *http.Transport, p *http.Protocols) {
			p.SetHTTP1(true)
			p.SetHTTP2(true)
			tr.TLSClientConfig = &tls.Config{RootCAs: pool}
		})},
	} {
		for range 2 {
			res, body := plain.get(tt.client, tt.url+"/v1/users/1")
			if res.Proto != tt.proto || body != `{"id":1,"name":"one"}` {
				t.Errorf("%s: %s %s", tt.name, res.Proto, body)
			}
		}
	}
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, data := range map[string][]byte{
		"cert.pem": cert, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return pool
}

// TestShutdownFinishesRequests stops the server while a request is computed.
func TestShutdownFinishesRequests(t *testing.T) {
	r := start(t, nil)
	r.get(http.DefaultClient, "http://"+r.http+"/v1/users/1")
	answered := make(chan string, 1)
	go func() {
		_, body := r.get(http.DefaultClient, "http://"+r.http+"/v1/slow")
		answered <- body
	}()
	time.Sleep(50 * time.Millisecond) // under way
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if body := <-answered; body != `[{"n":3000000}]` {
		t.Errorf("a request under way got %q", body)
	}
	if _, err := http.Get("http://" + r.http + "/v1/users/1"); err == nil {
		t.Error("it still accepts")
	}
}

// TestReloadDropsNoRequest reads all the time while files change.
func TestReloadDropsNoRequest(t *testing.T) {
	r := start(t, nil)
	stop, failed := make(chan struct{}), make(chan string, 1)
	var wg sync.WaitGroup
	for range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				if res, body := r.get(http.DefaultClient, "http://"+r.http+"/v1/users/1"); res.StatusCode != 200 {
					select {
					case failed <- body:
					default:
					}
				}
			}
		}()
	}
	for n := range 6 {
		text := "-- GET /v1/users/{id}\n-- result: one\nSELECT id, name FROM users WHERE id = :id" + strings.Repeat(" ", n)
		if n%3 == 2 {
			text = "-- GET /v1/users/{id}\nSELECT nonsense FROM users WHERE id = :id"
		}
		r.file("user.sql", text)
		r.reload <- struct{}{}
		r.reload <- struct{}{} // taken once the one before is done
	}
	close(stop)
	wg.Wait()
	select {
	case body := <-failed:
		t.Errorf("a request failed: %s", body)
	default:
	}
	if log := r.log.String(); !strings.Contains(log, "what was served before stays") || !strings.Contains(log, "nonsense") {
		t.Errorf("the bad file was not reported:\n%s", log)
	}
}

func TestAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = server.Run(context.Background(), &config.Config{Listen: config.Listen{HTTP: l.Addr().String(), Admin: "127.0.0.1:0"}},
		server.Options{Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "listen.http") {
		t.Errorf("%v", err)
	}
}
