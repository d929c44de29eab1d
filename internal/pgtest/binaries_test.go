package pgtest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func programs(t *testing.T, dir string, names ...string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBinariesOfTheEnvironment(t *testing.T) {
	whole := programs(t, t.TempDir(), "initdb", "postgres")
	t.Setenv(binEnv, whole)
	if got, err := Binaries(); err != nil || got != whole {
		t.Errorf("%q, %v; want %q", got, err, whole)
	}
	// What was asked for and is not there is not replaced by something else.
	half := programs(t, t.TempDir(), "postgres")
	t.Setenv(binEnv, half)
	if got, err := Binaries(); !errors.Is(err, ErrNoBinaries) || !strings.Contains(err.Error(), half) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNewestFirst(t *testing.T) {
	root := filepath.Join(t.TempDir(), "v7") // a number that is not the version
	for _, dir := range []string{"9.6/bin", "17/bin", "18", "10/bin"} {
		programs(t, filepath.Join(root, dir))
	}
	got := newestFirst(filepath.Join(root, "*", "bin"))
	var want []string
	for _, v := range []string{"17", "10", "9.6"} {
		want = append(want, filepath.Join(root, v, "bin"))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestNewestOf(t *testing.T) {
	versions := []string{
		"14.3.0-alpha.21", "14.3.0-beta.6", "14.9.0-beta.9", "14.10.0-beta.2", "14.10.0-beta.10", "15.18.0-beta.17", "16.0.0-alpha.1",
	}
	for major, want := range map[int]string{14: "14.10.0-beta.10", 15: "15.18.0-beta.17", 16: "", 1: ""} {
		if got := newestOf(versions, major); got != want {
			t.Errorf("newest of %d: %q, want %q", major, got, want)
		}
	}
}

func TestNPMSymlinks(t *testing.T) {
	native := t.TempDir()
	lib := filepath.Join(native, "lib")
	if err := os.Mkdir(lib, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(lib, "libpq.so.5.17"), []byte("library"), 0o644); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(native, "pg-symlinks.json")
	if err := os.WriteFile(list, []byte(`[{"source":"native/lib/libpq.so.5.17","target":"native/lib/libpq.so.5"}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := npmSymlinks(native); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(lib, "libpq.so.5")); err != nil || string(b) != "library" {
		t.Errorf("through the link: %q, %v", b, err)
	}
	if err := os.WriteFile(list, []byte(`[{"source":"native/lib/x","target":"native/../../escape"}]`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := npmSymlinks(native); err == nil {
		t.Error("a link out of the package was made")
	}
}

func TestFindChecksum(t *testing.T) {
	if _, err := controlCRC(make([]byte, 8192)); err == nil {
		t.Error("a checksum was found in zeros")
	}
}
