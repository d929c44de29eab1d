//go:build unix

package setup

import (
	"os"
	"syscall"
	"testing"
)

// own gives a file the owner of another one: the server may run as another
// user than the test.
func own(t *testing.T, file string, as os.FileInfo) {
	t.Helper()
	st := as.Sys().(*syscall.Stat_t)
	if err := os.Chown(file, int(st.Uid), int(st.Gid)); err != nil {
		t.Fatal(err)
	}
}
