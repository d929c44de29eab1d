// Package disk has what a directory needs that one process keeps files in: to be
// taken, to be made durable, and to have it said what is wrong with it. It knows
// nothing of the files.
package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked: another process has taken the directory.
var ErrLocked = errors.New("another process uses the directory")

// LockName is the name of the file in a directory by which it is taken. It stays.
const LockName = "lock"

// Lock makes a directory if need be and takes it for its caller, until the file is
// closed or the process ends, however it ends.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, LockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Hint says what to do about an error of a directory within live.dir; "" if that is
// not known.
func Hint(err error) string {
	switch {
	case isFull(err):
		return "free space there, or name another directory with live.dir"
	case errors.Is(err, fs.ErrPermission):
		return "tidemark must be able to write there; or name another directory with live.dir"
	case errors.Is(err, ErrLocked):
		return "stop the other tidemark, or name another directory with live.dir"
	}
	return ""
}
