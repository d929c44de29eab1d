//go:build unix

package feed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// A role needs no more than REPLICATION and the right to connect.
func TestOrdinaryRole(t *testing.T) {
	db := table(t, nil)
	role := "r_" + db.Name
	db.Exec(t, `CREATE ROLE `+role+` LOGIN`)
	t.Cleanup(func() { db.Exec(t, `DROP ROLE `+role) })
	f := launch(t, db, func(o *Options, _ *recorder) { o.DSN = db.UserDSN(role) })
	s := f.awaitStatus("the refusal", func(s Status) bool { return s.State == StateFailed })
	if !strings.Contains(s.Why, "REPLICATION") {
		t.Errorf("why: %s", s.Why)
	}
	db.Exec(t, `ALTER ROLE `+role+` REPLICATION`)
	f.session(0)
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	f.expect("--\ninsert public.t (id=1)")
	f.stop()
}

// The stream takes its connection over from the driver; an encrypted one too.
func TestTLS(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{TCP: true})
	certify(t, server.DataDir())
	if err := server.Reload(map[string]string{"ssl": "on"}); err != nil {
		t.Fatal(err)
	}
	db := table(t, server)
	f := follow(t, db, func(o *Options, _ *recorder) {
		if o.DSN += "&sslmode=require"; !strings.Contains(o.DSN, "127.0.0.1") {
			t.Fatalf("not a TCP address: %s", o.DSN)
		}
	})
	var encrypted bool
	ask(t, db, `SELECT ssl FROM pg_stat_ssl WHERE pid = (SELECT active_pid FROM pg_replication_slots WHERE slot_name = 's_`+db.Name+`')`, &encrypted)
	if !encrypted {
		t.Error("the connection is not encrypted")
	}
	db.Exec(t, `INSERT INTO t SELECT generate_series(1, 100000)`)
	f.sync()
	f.killWalsender()
	db.Exec(t, `INSERT INTO t VALUES (0)`)
	f.take()
	f.session(1)
	f.stop()
	if at, end := slotLSN(t, db), f.feed.Status().Applied; at != end || f.feed.Status().Changes != 100_002 {
		t.Errorf("stopped at %v, acknowledged %v; %+v", end, at, f.feed.Status())
	}
}

// certify puts a certificate where the server looks for it.
func certify(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"server.crt": {Type: "CERTIFICATE", Bytes: cert},
		"server.key": {Type: "EC PRIVATE KEY", Bytes: private},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if st, ok := owner.Sys().(*syscall.Stat_t); ok {
			if err := os.Chown(path, int(st.Uid), int(st.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
}
