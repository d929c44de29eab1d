//go:build !unix

package keep

import (
	"os"
	"path/filepath"
)

// lockDir does not keep other processes out where there are no such locks; the
// replication slot does, for all who follow the same one.
func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

func isFull(error) bool { return false }

// syncDir does nothing where a directory cannot be made durable by itself.
func syncDir(string) error { return nil }
