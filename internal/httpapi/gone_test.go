package httpapi_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// TestHalfClosed has clients close their side while the answer is computed. The
// front answers them; net/http takes them for gone, and tells them nothing.
func TestHalfClosed(t *testing.T) {
	front, plain, db, _ := open(t)
	ctx := context.Background()
	conn := db.Conn(t)
	step := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(addr, raw string) *net.TCPConn {
		t.Helper()
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(time.Minute))
		io.WriteString(c, raw)
		c.(*net.TCPConn).CloseWrite()
		return c.(*net.TCPConn)
	}
	const (
		get   = "GET /v1/users/7 HTTP/1.1\r\nHost: x\r\n\r\n"
		paths = `{"paths":["/v1/users/8","/v1/users/9"]}`
		wrong = "GET /v1/users/7 HTTP/1.1\r\nHost: x\r\nTidemark-Consistency: soon\r\n\r\n"
	)
	post := fmt.Sprintf("POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(paths), paths)
	step("BEGIN")
	step("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
	for name, c := range map[string]*net.TCPConn{
		"GET": ask(plain, get), "HEAD": ask(plain, "HEAD"+get[3:]), "POST": ask(plain, post), "POST, handed on": ask(front, post),
	} {
		if text, err := io.ReadAll(c); err != nil || len(text) > 0 {
			t.Errorf("%s: %v, and %q for an answer that there is not yet", name, err, text)
		}
	}
	if text, _ := io.ReadAll(ask(plain, wrong)); !bytes.HasPrefix(text, []byte("HTTP/1.1 400 ")) {
		t.Errorf("a wrong request got %q", text)
	}
	c := ask(front, get)
	step("COMMIT")
	if text, err := io.ReadAll(c); err != nil || !bytes.Contains(text, []byte(`{"id":7,`)) {
		t.Errorf("the front: %v, %q", err, text)
	}
}
