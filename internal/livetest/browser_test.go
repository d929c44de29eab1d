package livetest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium, driven over a pair of pipes by the DevTools
// protocol: JSON texts that end in a zero byte.
type browser struct {
	t   testing.TB
	cmd *exec.Cmd
	in  *os.File

	mu     sync.Mutex
	number int
	calls  map[int]chan devReply
	said   []string // what pages have complained about
	done   chan struct{}
}

type devReply struct {
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// page is one tab.
type page struct {
	*browser
	session string
}

// startBrowser starts one that ends with the test.
func startBrowser(t testing.TB) *browser {
	t.Helper()
	var program string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		lacking(t, "the page needs a Chromium, such as Debian's package chromium")
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, in: in, calls: map[int]chan devReply{}, done: make(chan struct{})}
	b.cmd = exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--user-data-dir="+t.TempDir(), "--window-size=900,700", "--remote-debugging-pipe", "about:blank")
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut} // 3 and 4, as the protocol has it
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	go b.read(out)
	t.Cleanup(b.close)
	return b
}

func (b *browser) close() {
	// It removes what it has in its folder, and its other processes end with it.
	_, _ = b.send("", "Browser.close", nil)
	late := time.AfterFunc(10*time.Second, func() { _ = b.cmd.Process.Kill() })
	_ = b.cmd.Wait() // how it ends is its affair
	late.Stop()
	b.in.Close()
	<-b.done
}

func (b *browser) read(out *os.File) {
	defer close(b.done)
	defer out.Close()
	for r := bufio.NewReader(out); ; {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m struct {
			ID     int    `json:"id"`
			Method string `json:"method"`
			Params json.RawMessage
			devReply
		}
		if err := json.Unmarshal(text[:len(text)-1], &m); err != nil {
			continue
		}
		b.mu.Lock()
		if c := b.calls[m.ID]; c != nil && m.ID != 0 {
			c <- m.devReply
			delete(b.calls, m.ID)
		}
		if m.Method == "Runtime.exceptionThrown" || m.Method == "Log.entryAdded" && strings.Contains(string(m.Params), `"level":"error"`) {
			b.said = append(b.said, string(m.Params))
		}
		b.mu.Unlock()
	}
}

// send sends a command and returns its result.
func (b *browser) send(session, method string, params map[string]any) (json.RawMessage, error) {
	b.mu.Lock()
	b.number++
	id, c := b.number, make(chan devReply, 1)
	b.calls[id] = c
	m := map[string]any{"id": id, "method": method}
	if session != "" {
		m["sessionId"] = session
	}
	if params != nil {
		m["params"] = params
	}
	text, err := json.Marshal(m)
	if err == nil {
		_, err = b.in.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case r := <-c:
		if r.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		return r.Result, nil
	case <-b.done:
		return nil, errors.New("the browser has ended")
	case <-time.After(settleTimeout):
		return nil, fmt.Errorf("%s was not answered within %s", method, settleTimeout)
	}
}

// do is send into v, for what has to succeed.
func (b *browser) do(session, method string, params map[string]any, v any) {
	b.t.Helper()
	result, err := b.send(session, method, params)
	if err == nil && v != nil {
		err = json.Unmarshal(result, v)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// open opens a tab.
func (b *browser) open(url string) *page {
	b.t.Helper()
	var target struct{ TargetID string }
	b.do("", "Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var session struct{ SessionID string }
	b.do("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &session)
	p := &page{b, session.SessionID}
	b.do(p.session, "Runtime.enable", nil, nil)
	b.do(p.session, "Log.enable", nil, nil)
	b.do(p.session, "Page.navigate", map[string]any{"url": url}, nil)
	return p
}

// text evaluates an expression that is a text.
func (p *page) text(expression string) string {
	p.t.Helper()
	var r struct {
		Result           struct{ Value string }
		ExceptionDetails any
	}
	p.do(p.session, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &r)
	if r.ExceptionDetails != nil {
		p.t.Fatalf("%s: %v", expression, r.ExceptionDetails)
	}
	return r.Result.Value
}

// screenshot is the page as PNG.
func (p *page) screenshot() []byte {
	p.t.Helper()
	var r struct{ Data string }
	p.do(p.session, "Page.captureScreenshot", map[string]any{"format": "png"}, &r)
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// complaints returns what pages have complained about.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.said
	b.said = nil
	return s
}
