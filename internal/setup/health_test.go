package setup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestServerSettings(t *testing.T) {
	settings := map[string]string{
		"wal_level": "replica", "max_replication_slots": "1", "max_wal_senders": "1",
		"wal_sender_timeout": "0", "synchronous_commit": "off",
	}
	server := pgtest.Start(t, pgtest.Options{Settings: settings})
	conn, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	exec(t, conn, "SELECT pg_create_physical_replication_slot('taken')")
	if server.Version() >= 18 {
		exec(t, conn, "ALTER SYSTEM SET idle_replication_slot_timeout = '90min'")
		exec(t, conn, "SELECT pg_reload_conf()")
		for value[string](t, conn, "SHOW idle_replication_slot_timeout") == "0" {
			time.Sleep(10 * time.Millisecond)
		}
	}
	r := inspect(t, conn, input())
	wantFinding(t, r, Error, "wal-level", "wal_level is replica", "ALTER SYSTEM SET wal_level = 'logical'")
	wantFinding(t, r, Error, "max-replication-slots", "all 1 replication slots are in use", "max_replication_slots = 5")
	wantFinding(t, r, Warning, "unlimited-slot", "disk is full", "max_slot_wal_keep_size = '50GB'")
	wantFinding(t, r, Warning, "wal-sender-timeout", "", "wal_sender_timeout = '60s'")
	wantFinding(t, r, Info, "asynchronous-commit", "synchronous_commit is off", "")
	wantFinding(t, r, Info, "no-slot", "does not exist yet", "")
	if server.Version() >= 18 {
		wantFinding(t, r, Warning, "idle-slot-timeout", "90 minutes", "")
	}
	if find(r, "replication-connection") != nil || find(r, "pooler") != nil || find(r, "other-server") != nil {
		t.Errorf("a direct connection was not recognised: %+v", r.Findings)
	}
}

func TestSlots(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "32MB", "max_wal_size": "64MB", "min_wal_size": "32MB", "max_replication_slots": "10",
	}})
	db := server.DB(t)
	db.Exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
	conn := db.Conn(t)
	in := input("a")

	exec(t, conn, "SELECT pg_create_logical_replication_slot('tidemark_a', 'pgoutput')")
	r := inspect(t, conn, in)
	wantFinding(t, r, Error, "slot-before-publication", "older than publication tidemark", "SELECT pg_drop_replication_slot('tidemark_a')")
	wantFinding(t, r, Info, "slot-inactive", "nobody reads slot tidemark_a", "")
	exec(t, conn, "SELECT pg_drop_replication_slot('tidemark_a')")
	mustRun(t, conn, in)

	other := server.DB(t)
	exec(t, other.Conn(t), "SELECT pg_create_logical_replication_slot('tidemark_a', 'pgoutput')")
	wantFinding(t, inspect(t, conn, in), Error, "foreign-slot", "belongs to database "+other.Name, "")
	exec(t, conn, "SELECT pg_drop_replication_slot('tidemark_a')")
	exec(t, conn, "SELECT pg_create_physical_replication_slot('tidemark_a')")
	wantFinding(t, inspect(t, conn, in), Error, "foreign-slot", "is not a pgoutput slot", "")
	exec(t, conn, "SELECT pg_drop_replication_slot('tidemark_a')")

	exec(t, conn, "SELECT pg_create_logical_replication_slot('tidemark_a', 'pgoutput')")
	if r := inspect(t, conn, in); !r.Ready() {
		t.Errorf("not ready: %+v", r.Diagnosis())
	}
	seen := make(map[string]bool)
	for range 100 {
		exec(t, conn, "SELECT pg_logical_emit_message(false, 'fill', repeat('x', 2000000))")
		r := inspect(t, conn, in)
		for _, f := range r.Findings {
			seen[f.Code] = true
		}
		if seen["slot-unreserved"] {
			exec(t, conn, "CHECKPOINT")
		}
		if find(r, "slot-lost") != nil {
			wantFinding(t, r, Error, "slot-lost", "is lost", "SELECT pg_drop_replication_slot('tidemark_a')")
			break
		}
	}
	for _, code := range []string{"slot-nearly-full", "slot-unreserved", "slot-lost"} {
		if !seen[code] {
			t.Errorf("no finding %s", code)
		}
	}
}

func TestLargeSlots(t *testing.T) {
	for _, active := range []bool{false, true} {
		st := &state{
			Database: "d", Settings: map[string]int64{"max_slot_wal_keep_size": -1},
			Slot: &slot{Logical: true, Plugin: "pgoutput", Database: "d", Active: active, Retained: 3 * gibibyte, SafeSize: -1},
		}
		var r Report
		r.slot(st, Input{Slot: "s"})
		code := "slot-inactive"
		if active {
			code = "slot-behind"
		}
		wantFinding(t, &r, Warning, code, "3.0 GiB", "")
	}
}

func TestTransactions(t *testing.T) {
	server := pgtest.Start(t, pgtest.Options{})
	db := server.DB(t)
	db.Exec(t, "CREATE TABLE a (id int PRIMARY KEY)")
	conn, idle, prepared := db.Conn(t), db.Conn(t), db.Conn(t)
	exec(t, idle, "BEGIN; INSERT INTO a VALUES (1)")
	exec(t, prepared, "BEGIN; INSERT INTO a VALUES (2); PREPARE TRANSACTION 'it''s'")
	in := input("a")
	if r := inspect(t, conn, in); find(r, "long-transaction") != nil || find(r, "prepared-transaction") != nil {
		t.Errorf("young transactions are reported: %+v", r.Findings)
	}
	in.LongTransaction = time.Nanosecond
	r := inspect(t, conn, in)
	wantFinding(t, r, Warning, "long-transaction", "making the slot waits for its end",
		fmt.Sprintf("SELECT pg_terminate_backend(%d)", idle.PgConn().PID()))
	wantFinding(t, r, Warning, "prepared-transaction", `"it's"`, "COMMIT PREPARED 'it''s' or ROLLBACK PREPARED 'it''s'")
	exec(t, prepared, "ROLLBACK PREPARED 'it''s'")
}

// pooler relays connections the way a pooler does: process ids are its own,
// and replication is not passed on.
func pooler(t *testing.T, server *pgtest.Server) (port int) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	relay := func(client net.Conn) error {
		defer client.Close()
		var head [4]byte
		if _, err := io.ReadFull(client, head[:]); err != nil {
			return err
		}
		startup := make([]byte, binary.BigEndian.Uint32(head[:])-4)
		if _, err := io.ReadFull(client, startup); err != nil {
			return err
		}
		if bytes.Contains(startup, []byte("replication\x00")) {
			body := "SFATAL\x00C08P01\x00Munsupported startup parameter: replication\x00\x00"
			_, err := client.Write(append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4)), body...))
			return err
		}
		upstream, err := net.Dial("unix", filepath.Join(server.SocketDir(), fmt.Sprintf(".s.PGSQL.%d", server.Port())))
		if err != nil {
			return err
		}
		defer upstream.Close()
		if _, err := upstream.Write(append(head[:], startup...)); err != nil {
			return err
		}
		go func() { _, _ = io.Copy(upstream, client); _ = upstream.Close() }()
		var kind [5]byte
		for {
			if _, err := io.ReadFull(upstream, kind[:]); err != nil {
				return err
			}
			body := make([]byte, binary.BigEndian.Uint32(kind[1:])-4)
			if _, err := io.ReadFull(upstream, body); err != nil {
				return err
			}
			if kind[0] == 'K' {
				binary.BigEndian.PutUint32(body, 4242)
			}
			if _, err := client.Write(append(kind[:], body...)); err != nil {
				return err
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				if err := relay(client); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Log(err)
				}
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

func TestPooler(t *testing.T) {
	db := pgtest.DB(t)
	conn, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", pooler(t, db.Server), db.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	r := inspect(t, conn, input())
	wantFinding(t, r, Warning, "pooler", "connection pooler", "")
	wantFinding(t, r, Error, "replication-connection", "unsupported startup parameter", "the server's own address")
}
