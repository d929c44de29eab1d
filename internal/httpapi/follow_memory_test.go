//go:build linux && !race

package httpapi_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/liveapi"
	"github.com/tidemarkdb/tidemark/internal/liveapi/liveapitest"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// TestFollowersAreSmall has many clients wait at once, and measures what each
// costs, and how long it takes until all have a change. TIDEMARK_FOLLOWERS is how
// many; what it says is in docs/live.md.
func TestFollowersAreSmall(t *testing.T) {
	n := 2000
	if s := os.Getenv("TIDEMARK_FOLLOWERS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	const limit = 8 << 10
	for _, kind := range []struct{ name, query string }{
		{"long poll", "&live=true&cursor=1"},
		{"event stream", "&live=true&live_sse=true&cursor=1"},
	} {
		for _, shapes := range []int{1, n} {
			t.Run(fmt.Sprintf("%s, %d shapes", kind.name, shapes), func(t *testing.T) {
				r := newFollowRig(t, liveapi.Options{Poll: 5 * time.Minute, Stream: 10 * time.Minute})
				all := make([]*liveapitest.Shape, shapes)
				for i := range all {
					all[i] = liveapitest.NewShape(fmt.Sprintf("h-%d", i), 100, []string{liveapitest.Row(1, "a")})
					r.tables.Set(fmt.Sprintf("t%d", i), all[i])
				}
				settle := func() uint64 {
					for range 4 { // a stack is halved by each
						runtime.GC()
					}
					debug.FreeOSMemory()
					return resident(t)
				}
				before := settle()
				clients := make([]int, n)
				for i := range clients {
					shape := i % shapes
					clients[i] = dialRaw(t, r.addr)
					writeRaw(t, clients[i], fmt.Sprintf("GET /v1/shape?handle=h-%d&offset=100_0%s&table=t%d HTTP/1.1\r\nHost: localhost:3000\r\n"+
						"Accept: */*\r\nAccept-Language: *\r\nUser-Agent: node\r\nAccept-Encoding: gzip, deflate\r\n\r\n", shape, kind.query, shape))
				}
				r.waits(n)
				peak := resident(t)
				each := int64(settle()-before) / int64(n)
				t.Logf("%d followers: %d bytes each (%d before memory is given back)", n, each, int64(peak-before)/int64(n))
				if each > limit {
					t.Errorf("a follower costs %d bytes, more than %d", each, limit)
				}
				began := time.Now()
				for _, s := range all {
					s.Insert(revision.LSN(200), 2, "b")
				}
				for _, c := range clients {
					readRawUntil(t, c, []byte("up-to-date"), []byte("}}"))
				}
				t.Logf("a change reached all after %s", time.Since(began))
				for _, c := range clients {
					syscall.Close(c)
				}
				for end := time.Now().Add(time.Minute); r.live.Waiting() > 0; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%d wait that are gone", r.live.Waiting())
					}
				}
			})
		}
	}
}

func resident(t *testing.T) uint64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseUint(string(bytes.Fields(text)[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}

// dialRaw opens a connection that the runtime knows nothing of.
func dialRaw(t *testing.T, addr string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	to := &syscall.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}
	if err := syscall.Connect(fd, to); err != nil {
		t.Fatal(err)
	}
	timeout := syscall.Timeval{Sec: 60}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout); err != nil {
		t.Fatal(err)
	}
	return fd
}

func writeRaw(t *testing.T, fd int, text string) {
	t.Helper()
	if n, err := syscall.Write(fd, []byte(text)); err != nil || n != len(text) {
		t.Fatal(n, err)
	}
}

// readRawUntil reads until the texts came, one behind the other.
func readRawUntil(t *testing.T, fd int, texts ...[]byte) {
	t.Helper()
	var got []byte
	var buf [4096]byte
	for {
		n, err := syscall.Read(fd, buf[:])
		if err != nil || n <= 0 {
			t.Fatalf("%v, %d after %q", err, n, got)
		}
		got = append(got, buf[:n]...)
		rest, all := got, true
		for _, text := range texts {
			i := bytes.Index(rest, text)
			if all = i >= 0; !all {
				break
			}
			rest = rest[i+len(text):]
		}
		if all {
			return
		}
	}
}
