//go:build unix

package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	first, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("taken twice: %v", err)
	}
	other, err := Lock(filepath.Dir(dir)) // each is taken for itself
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("what was let go of is taken: %v", err)
	}
	again.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(file); err == nil {
		t.Error("a file was taken")
	}
}

func TestHint(t *testing.T) {
	for _, err := range []error{ErrLocked, fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT} {
		if Hint(fmt.Errorf("x: %w", err)) == "" {
			t.Errorf("no hint for %v", err)
		}
	}
	if got := Hint(errors.New("x")); got != "" {
		t.Error(got)
	}
}
