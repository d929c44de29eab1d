package pgtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// templateFormat changes whenever initdb is called differently.
const templateFormat = "1"

// makeDataDir copies the template of s's programs, which initdb makes once per user and machine: a
// copy costs a fraction of initdb.
func makeDataDir(ctx context.Context, s *Server, log io.Writer) error {
	fail := func(op string, err error) error {
		var e *Error
		if errors.As(err, &e) {
			return err
		}
		return &Error{Op: op, Err: err}
	}
	template, err := template(ctx, s, log)
	if err != nil {
		return fail("make a data folder", err)
	}
	if err := copyTree(ctx, template, s.DataDir(), s.user); err != nil {
		return fail("copy a data folder", err)
	}
	if err := newSystemID(s.DataDir()); err != nil {
		return fail("give a data folder its identity", err)
	}
	return nil
}

// template returns the folder to copy. Test binaries run side by side, so the first one makes it
// under a lock while the others wait, and it appears by a rename, whole.
func template(ctx context.Context, s *Server, log io.Writer) (string, error) {
	root, err := cacheDir()
	if err != nil {
		return "", err
	}
	key, err := templateKey(s.bin)
	if err != nil {
		return "", err
	}
	final := filepath.Join(root, strconv.Itoa(s.version)+"-"+key)
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	lock, err := os.OpenFile(final+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := waitLock(lock); err != nil {
		return "", err
	}
	if _, err := os.Stat(final); err == nil {
		return final, nil
	}
	fmt.Fprintf(log, "running initdb of %s, once\n", s.bin)
	// initdb runs as the server's user, who may not reach the cache folder; its own folder it can.
	fresh := filepath.Join(s.dir, "initdb")
	defer os.RemoveAll(fresh)
	if err := initdb(ctx, s, fresh); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(root, ".new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	self := osUser{uid: os.Geteuid(), gid: os.Getegid(), other: s.user.other}
	if err := copyTree(ctx, fresh, filepath.Join(tmp, "data"), self); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(tmp, "data"), final); err != nil {
		return "", err
	}
	return final, nil
}

func initdb(ctx context.Context, s *Server, dir string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", dir, "-U", "postgres",
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	cmd.Dir, cmd.Env = s.dir, cleanEnv()
	s.user.runAs(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return &Error{Op: "run initdb", Err: fmt.Errorf("%w: %s", err, out)}
	}
	f, err := os.OpenFile(filepath.Join(dir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(f, "\ninclude '%s'\n", settingsFile); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// templateKey tells programs apart that could make different data folders, an upgrade in place too.
func templateKey(bin string) (string, error) {
	h := sha256.New()
	for _, program := range []string{"initdb", "postgres"} {
		path, err := filepath.EvalSymlinks(filepath.Join(bin, program))
		if err != nil {
			return "", err
		}
		st, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s\n%d\n%d\n%s\n", path, st.Size(), st.ModTime().UnixNano(), templateFormat)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// cacheDir is private to this user: what lies in it becomes a running server.
func cacheDir() (string, error) {
	if cache, err := os.UserCacheDir(); err == nil {
		dir := filepath.Join(cache, "tidemark", "template")
		if err := os.MkdirAll(dir, 0o700); err == nil {
			return dir, nil
		}
	}
	// Somebody without a home. Others may have taken the name.
	dir := filepath.Join(os.TempDir(), "tidemark-template-"+strconv.Itoa(os.Geteuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return dir, ownedBySelf(dir)
}

// copyTree copies plain files and folders, and gives them to a user.
func copyTree(ctx context.Context, from, to string, user osUser) error {
	block := make([]byte, 256<<10)
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			err = os.Mkdir(target, 0o700)
		case d.Type().IsRegular():
			err = copyFile(path, target, block)
		default:
			err = fmt.Errorf("%s is neither a file nor a folder", path)
		}
		if err != nil {
			return err
		}
		return user.own(target)
	})
}

// copyFile leaves out blocks of zeros, which is most of a first log segment and nearly half of a data
// folder.
func copyFile(from, to string, block []byte) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	size := int64(0)
	for {
		n, err := io.ReadFull(in, block)
		if n > 0 && !zero(block[:n]) {
			if _, err := out.WriteAt(block[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return out.Truncate(size)
		}
		if err != nil {
			return err
		}
	}
}

// zero compares a block with itself, one byte on.
func zero(b []byte) bool { return b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1]) }
