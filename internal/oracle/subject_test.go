package oracle

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/httpapi"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// childEnv holds the options of a process that does nothing but serve.
const childEnv = "TIDEMARK_ORACLE_CHILD"

func TestMain(m *testing.M) {
	if opts := os.Getenv(childEnv); opts != "" {
		if err := serveChild(opts); err != nil {
			fmt.Fprintln(os.Stderr, "oracle child:", err)
			os.Exit(1)
		}
		return
	}
	pgtest.Main(m)
}

// subject is the tidemark under test: in this process, or in one of its own
// that can be killed.
type subject struct {
	url      string
	opts     tenant.Options
	poll     time.Duration // that followers wait at most; 0: what fits into a run
	listener *net.TCPListener
	log      *tail

	mu     sync.Mutex
	tenant *tenant.Tenant // in this process
	stop   context.CancelFunc
	ended  chan error
	child  *exec.Cmd
	stdin  io.Closer
}

func newSubject(opts tenant.Options) (*subject, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &subject{url: "http://" + l.Addr().String(), opts: opts, listener: l.(*net.TCPListener), log: &tail{}}, nil
}

// start serves in this process.
func (s *subject) start(ctx context.Context) error {
	opts := s.opts
	opts.Logger = slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	t, err := tenant.Open(ctx, opts)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.tenant, s.stop, s.ended = t, cancel, make(chan error, 1)
	go func() { s.ended <- serve(ctx, t, s.listener, opts.Logger, s.poll) }()
	return nil
}

// serve runs a tenant behind a listener until ctx ends.
func serve(ctx context.Context, t *tenant.Tenant, l net.Listener, log *slog.Logger, poll time.Duration) error {
	defer t.Close()
	handler := httpapi.New(t, log)
	if t.Answers() != nil {
		handler.Follow(liveFace(t, log, poll))
	}
	srv := httpapi.NewFront(handler, log)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	err := t.Run(ctx)
	_ = l.Close()
	drain, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = srv.Shutdown(drain)
	if e := <-served; !errors.Is(e, http.ErrServerClosed) && !errors.Is(e, net.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// startChild serves in a process of its own, on the same listener, so that
// connections wait while there is none.
func (s *subject) startChild() error {
	opts, err := json.Marshal(s.opts)
	if err != nil {
		return err
	}
	file, err := s.listener.File()
	if err != nil {
		return err
	}
	defer file.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(opts))
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stdout, cmd.Stderr = s.log, s.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.child, s.stdin = cmd, stdin
	s.mu.Unlock()
	return nil
}

// killChild ends the process as a crash does.
func (s *subject) killChild() {
	s.mu.Lock()
	cmd, stdin := s.child, s.stdin
	s.child = nil
	s.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Kill()
	_ = stdin.Close()
	_ = cmd.Wait() // it was killed
}

// stopChild ends the process as an operator does.
func (s *subject) stopChild() error {
	s.mu.Lock()
	cmd, stdin := s.child, s.stdin
	s.child = nil
	s.mu.Unlock()
	if cmd == nil {
		return nil
	}
	defer stdin.Close()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	return cmd.Wait()
}

// signalChild reports whether there is a process to signal.
func (s *subject) signalChild(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.child != nil && s.child.Process.Signal(sig) == nil
}

func (s *subject) close() error {
	s.killChild()
	var err error
	if s.stop != nil {
		s.stop()
		err = <-s.ended
		s.stop = nil
	}
	_ = s.listener.Close()
	return err
}

// serveChild is the whole life of a child. It ends with its parent, whose end
// closes its standard input.
func serveChild(text string) error {
	var opts tenant.Options
	if err := json.Unmarshal([]byte(text), &opts); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer cancel()
	go func() {
		_, _ = bufio.NewReader(os.Stdin).ReadByte()
		os.Exit(0)
	}()
	opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		t, err := tenant.Open(ctx, opts)
		if err == nil {
			return serve(ctx, t, l, opts.Logger, 0)
		}
		if ctx.Err() != nil {
			return nil // it was ended before it had begun
		}
		// The database may be on its way.
		if !errors.Is(err, tenant.ErrDatabaseGone) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*tailBytes {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailBytes:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-tailBytes/8):])
}
