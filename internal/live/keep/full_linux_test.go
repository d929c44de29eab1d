package keep

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// TestFullDisk fills a real one.
func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("a full disk needs the right to mount a small one: ", err)
	}
	defer syscall.Unmount(dir, 0)
	l := openLog(t, Options{Dir: dir, SegmentBytes: 100_000})
	defer l.Close()
	l.Continue(source, 0)
	rel := items(1)
	tx := func(end revision.LSN) *change.Transaction {
		return &change.Transaction{End: end, Changes: []change.Change{insert(rel, int(end)), insert(rel, int(end))}}
	}
	end := revision.LSN(0)
	var err error
	for err == nil && end < 100_000 {
		end++
		err = l.Append(tx(end), everything)
	}
	var e *Error
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &e) || e.Hint == "" || !strings.Contains(err.Error(), dir) {
		t.Fatal(err)
	}
	if err := l.Append(tx(end+1), everything); !errors.Is(err, ErrStopped) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if l.Cover(end + 5); l.End() != end-1 {
		t.Fatal(l.End(), end)
	}
	if at, err := l.Sync(); err != nil || at != end-1 {
		t.Fatal(at, end, err)
	}
	n := revision.LSN(0)
	if err := l.Read(context.Background(), nil, 0, end, func(tx *Tx) (bool, error) { n++; return true, nil }); err != nil || n != end-1 {
		t.Fatal(n, err)
	}
	if joined, err := l.Continue(source, end-1); err != nil || joined || l.Begin() != end-1 {
		t.Fatal(joined, err)
	}
	if err := l.Append(tx(end), everything); err != nil {
		t.Fatal(err)
	}
}
