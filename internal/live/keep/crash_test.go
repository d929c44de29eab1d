//go:build unix

package keep

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/change"
)

const (
	childDir = "TIDEMARK_KEEP_TEST_DIR"
	// childWrites is after how many writes the child kills itself in the middle of one.
	childWrites = "TIDEMARK_KEEP_TEST_WRITES"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const crashSeed = 11

func crashOptions(dir string) Options {
	return Options{Dir: dir, MaxBytes: 4_000_000, SegmentBytes: 200_000}
}

// crashGenerator makes the same transactions in parent and child.
func crashGenerator() (g *generator, next func() *change.Transaction) {
	g = newGenerator(crashSeed, 5)
	i := 0
	return g, func() *change.Transaction {
		if i++; i%30 == 0 {
			return g.sized(3000) // in pieces
		}
		return g.next()
	}
}

// child appends until it is killed. What it prints is a promise.
func child(dir string) error {
	l, err := Open(crashOptions(dir))
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(os.Getenv(childWrites)); err == nil {
		l.write = func(f *os.File, b []byte, off int64) (int, error) {
			if n--; n < 0 {
				f.WriteAt(b[:rand.IntN(len(b))], off)
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
			return f.WriteAt(b, off)
		}
	}
	fmt.Println("opened", uint64(l.End()))
	g, next := crashGenerator()
	if _, err := l.Continue(source, max(l.End(), g.lsn)); err != nil {
		return err
	}
	go func() {
		for {
			lsn, err := l.Sync()
			if err != nil {
				fmt.Println("error", err)
			}
			fmt.Println("synced", uint64(lsn))
		}
	}()
	for range 3000 {
		tx := next()
		if tx.End <= l.End() {
			continue
		}
		holds := touches(tx, nil)
		if len(tx.Changes) > 100 {
			tx = spilled(tx)
		}
		if err := l.Append(tx, wanted); err != nil {
			return err
		}
		l.Cover(tx.End)
		if holds { // what is only covered may be forgotten until Sync
			fmt.Println("appended", uint64(tx.End))
		}
	}
	fmt.Println("done", 0)
	select {}
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	var model []*change.Transaction
	g, next := crashGenerator()
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	var appended, synced, kills, torn int
	for kills < *seeds/5 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		if kills%2 == 0 {
			cmd.Env = append(cmd.Env, fmt.Sprint(childWrites, "=", r.IntN(100)))
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, done := bufio.NewScanner(out), false
		for lines.Scan() {
			var what string
			var n int
			if _, err := fmt.Sscan(lines.Text(), &what, &n); err != nil {
				break // cut off by the kill
			}
			switch what {
			case "appended":
				appended = max(appended, n)
			case "synced":
				synced = max(synced, n)
			case "opened":
				if n < appended || n < synced {
					t.Errorf("%d was appended, %d durable, and the log ends at %d", appended, synced, n)
				}
				if kills%2 == 0 {
					break // it does that itself
				}
				go func() {
					time.Sleep(time.Duration(1+r.IntN(80)) * time.Millisecond)
					cmd.Process.Kill()
				}()
			case "error":
				t.Error(lines.Text())
			case "done":
				done = true
				cmd.Process.Kill()
			}
		}
		cmd.Process.Kill()
		cmd.Wait()
		kills++
		var before int64
		for _, p := range segmentFiles(t, dir) {
			info, err := os.Stat(p)
			if err != nil {
				t.Fatal(err)
			}
			before += info.Size()
		}
		l, err := Open(crashOptions(dir))
		if err != nil {
			t.Fatal(err)
		}
		if l.Size() < before {
			torn++
		}
		for len(model) == 0 || model[len(model)-1].End < l.End() {
			model = append(model, next())
		}
		if end := int(l.End()); end < appended || end < synced {
			t.Fatalf("%d was appended, %d durable, and the log ends at %d", appended, synced, end)
		}
		for i := range 3 {
			tables, after, upTo, from := g2(g).question(l.Begin(), l.End())
			if i == 0 {
				tables, after, upTo, from = nil, l.Begin(), l.End(), 0
			}
			if err := compare(l, model, tables, after, upTo, from); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		if done || t.Failed() {
			break
		}
	}
	t.Logf("%d kills, %d torn ends, %d transactions", kills, torn, len(model))
	if appended == 0 || synced == 0 || torn == 0 {
		t.Fatal("the child did nothing")
	}
}

// g2 asks questions without disturbing what g makes.
func g2(g *generator) *generator {
	return &generator{r: rand.New(rand.NewPCG(uint64(g.lsn), 5)), current: g.current}
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	l := openLog(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir})
	var e *Error
	if !errors.Is(err, ErrLocked) || !errors.As(err, &e) || e.Dir != dir || e.Hint == "" {
		t.Fatal(err)
	}
	// Another process, too.
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Fatalf("%s", out)
	}
	l.Close()
	openLog(t, Options{Dir: dir})
}
