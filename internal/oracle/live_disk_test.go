package oracle

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

// mountDisk gives what tidemark keeps a small disk of its own.
func (lr *liveRun) mountDisk() {
	if err := os.Mkdir(lr.data, 0o755); err != nil {
		lr.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=16m", "tidemark-test", lr.data).CombinedOutput(); err != nil {
		lr.Skipf("a small disk cannot be made here: %v %s", err, out)
	}
	lr.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", lr.data).CombinedOutput(); err != nil {
			lr.Errorf("%v: %s", err, out)
		}
	})
}

// fillDisk leaves no room on the disk for a while, and makes room again.
func (lr *liveRun) fillDisk(ctx context.Context, _ *run, r *rand.Rand) {
	for n := 0; n == 0 || ctx.Err() == nil; n++ {
		lr.between(ctx, r, 100, 500)
		ballast := filepath.Join(lr.data, "ballast")
		f, err := os.Create(ballast)
		for block := make([]byte, 4<<10); err == nil; {
			_, err = f.Write(block)
		}
		_ = f.Close()
		pause(ctx, between(r, 50, 700))
		if err := os.Remove(ballast); err != nil {
			lr.Error(err)
		}
	}
}
