package replication

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const patience = 30 * time.Second

func connect(t *testing.T, db *pgtest.Database) (context.Context, *Conn) {
	t.Helper()
	cfg, err := pgconn.ParseConfig(db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	c, err := Connect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return ctx, c
}

func TestStream(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `CREATE TABLE t (id int)`)
	db.Exec(t, `CREATE PUBLICATION "it's ""one"", really" FOR ALL TABLES`)
	ctx, c := connect(t, db)
	sys, err := c.IdentifySystem(ctx)
	if err != nil || sys.Database != db.Name || sys.Source.SystemID == 0 || sys.Source.Timeline != 1 || sys.Flushed == 0 {
		t.Fatalf("%+v, %v", sys, err)
	}
	slot := "s_" + db.Name
	at, err := c.CreateSlot(ctx, slot, 150000)
	if err != nil || at < sys.Flushed {
		t.Fatal(at, err)
	}
	db.Exec(t, `INSERT INTO t VALUES (1)`)
	s, err := c.Start(ctx, StartOptions{Slot: slot, Publications: []string{`it's "one", really`}, Protocol: 2, Messages: true, Streaming: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()

	var kinds []byte
	var end revision.LSN
	for !bytes.HasSuffix(kinds, []byte("C")) {
		b, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		for {
			m, ok, err := b.Next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if d := time.Since(m.Time); d < -time.Minute || d > time.Minute {
				t.Errorf("sent %v ago", d)
			}
			if !m.Keepalive {
				kinds = append(kinds, m.Data[0])
				end = m.Start
			}
		}
		b.Release()
	}
	if string(kinds) != "BRIC" {
		t.Errorf("got %s", kinds)
	}

	// A reply comes when asked for, also while Receive waits.
	got := make(chan error, 1)
	go func() {
		for {
			b, err := s.Receive()
			if err != nil {
				got <- err
				return
			}
			m, _, _ := b.Next()
			b.Release()
			if m.Keepalive && m.End >= end {
				got <- nil
				return
			}
		}
	}()
	if err := s.SendStatus(Status{Written: end, Flushed: end, Applied: end, Time: time.Now(), ReplyRequested: true}, time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}

	// Interrupt ends a Receive that waits, and what comes after it.
	go func() {
		for {
			b, err := s.Receive()
			b.Release()
			if err != nil {
				got <- err
				return
			}
		}
	}()
	s.Interrupt()
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Receive: %v", err)
	}
	if err := s.SendStatus(Status{Time: time.Now()}, time.Now().Add(patience)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("SendStatus: %v", err)
	}

	// After Finish the position is stored and the slot is free.
	if err := s.Finish(Status{Written: end, Flushed: end, Applied: end, Time: time.Now()}, time.Now().Add(patience)); err != nil {
		t.Errorf("Finish: %v", err)
	}
	_, c = connect(t, db)
	rows, err := c.Query(ctx, `SELECT active, confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = '`+slot+`'`)
	if err != nil || len(rows) != 1 || rows[0][0] != "f" || rows[0][1] != end.String() {
		t.Errorf("slot %v, want %v; %v", rows, end, err)
	}
	if err := c.DropSlot(ctx, slot); err != nil {
		t.Error(err)
	}
	var pgErr *pgconn.PgError
	if err := c.DropSlot(ctx, slot); !errors.As(err, &pgErr) || pgErr.Code != "42704" {
		t.Errorf("second drop: %v", err)
	}
	if _, err := c.Start(ctx, StartOptions{Slot: slot, Publications: []string{"p"}, Protocol: 1}); !errors.As(err, &pgErr) || pgErr.Code != "42704" {
		t.Errorf("start without a slot: %v", err)
	}
}

// Settings of the role, of the database and of the connection string do not
// change the text form of values.
func TestSettings(t *testing.T) {
	db := pgtest.DB(t)
	db.Exec(t, `ALTER DATABASE `+db.Name+` SET DateStyle = 'SQL'`)
	db.Exec(t, `ALTER DATABASE `+db.Name+` SET bytea_output = 'escape'`)
	cfg, err := pgconn.ParseConfig(db.DSN() + "&datestyle=German&timezone=Asia/Tokyo&work_mem=1MB")
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	c, err := Connect(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for name, want := range map[string]string{
		"DateStyle": "ISO, MDY", "TimeZone": "UTC", "IntervalStyle": "postgres", "bytea_output": "hex",
		"extra_float_digits": "3", "application_name": "tidemark", "work_mem": "1MB",
	} {
		rows, err := c.Query(ctx, "SHOW "+name)
		if err != nil || rows[0][0] != want {
			t.Errorf("%s is %v, %v", name, rows, err)
		}
	}
	if cfg.RuntimeParams["replication"] != "" || cfg.RuntimeParams["datestyle"] != "German" {
		t.Errorf("the caller's configuration was changed: %v", cfg.RuntimeParams)
	}
	if _, err := c.Query(ctx, "SELECT 1/0"); err == nil || !strings.Contains(err.Error(), "division") {
		t.Errorf("got %v", err)
	}
}

func TestCancelled(t *testing.T) {
	db := pgtest.DB(t)
	_, c := connect(t, db)
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := c.Query(ctx, "SELECT pg_sleep(60)"); err == nil || time.Since(start) > patience/2 {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	_, c = connect(t, db)
	if _, err := c.Start(ctx, StartOptions{Slot: "s", Publications: []string{"p"}, Protocol: 1}); err == nil {
		t.Error("started with a context that had ended")
	}
}
