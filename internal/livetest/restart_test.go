package livetest

import (
	"testing"
)

// TestTrimmed has a client come back when what it missed is no longer kept.
func TestTrimmed(t *testing.T) {
	play(t, "max_log: 1MiB\n", scenario{name: "trimmed", schema: items("trimmed") + "CREATE TABLE ballast (id int PRIMARY KEY, t text)", run: func(t *testing.T, w *world) {
		b := newBook(t, w.db)
		v := b.view("SELECT * FROM trimmed")
		stays := w.follow(t, v, following{params: map[string]any{"table": "trimmed"}})
		f := w.follow(t, v, following{params: map[string]any{"table": "trimmed", "replica": "full"}})
		f.settle()
		f.close()
		// One that stays is carried along, though nothing touches its shape.
		for i := range 8 {
			b.do("INSERT INTO ballast SELECT i, repeat(md5(i::text), 20) FROM generate_series(%d, %d) i", i*1000, i*1000+999)
		}
		step(b, w.rng, "trimmed")
		stays.settle()
		// What is still in memory would do for one who comes back.
		w.stop()
		w.start()
		g := f.resumed(w.node, w.base())
		g.until("a refetch", func() bool { return g.refetch > 0 })
		g.settle()
		step(b, w.rng, "trimmed")
		g.settle()
		stays.settle()
		if stays.refetch > 0 {
			t.Errorf("a client that was there all the time began anew")
		}
	}})
}

// TestRestart ends the server under running clients, and goes on writing meanwhile.
func TestRestart(t *testing.T) {
	play(t, "", scenario{
		name: "restart", restarts: true, schema: items("lasting") + `CREATE TABLE scores (id int PRIMARY KEY, points int);
			INSERT INTO scores SELECT i, i * 7 % 100 FROM generate_series(1, 50) i;`,
		endpoints: map[string]string{"top.sql": "-- GET /v1/top\n-- key: id\nSELECT id, points FROM scores ORDER BY points DESC, id LIMIT 10\n"},
		run: func(t *testing.T, w *world) {
			b, n := newBook(t, w.db), startNode(t)
			v, top := b.view("SELECT * FROM lasting"), b.view("SELECT id, points FROM scores ORDER BY points DESC, id LIMIT 10")
			all := []*follower{
				w.follow(t, v, following{params: map[string]any{"table": "lasting", "replica": "full"}}),
				w.follow(t, v, following{params: map[string]any{"table": "lasting"}, sse: true}),
				n.follow(t, w.base(), v, following{params: map[string]any{"table": "lasting"}}),
				w.follow(t, top, following{path: "/v1/top"}),
				w.follow(t, top, following{path: "/v1/top", sse: true}),
			}
			write := func() {
				step(b, w.rng, "lasting")
				b.do("UPDATE scores SET points = %d WHERE id = %d", w.rng.IntN(120), 1+w.rng.IntN(50))
			}
			for _, f := range all {
				f.settle()
			}
			for i, end := range []func(){w.stop, w.kill, w.kill} {
				for range 5 {
					write()
				}
				end()
				for range 5 {
					write()
				}
				w.start()
				for range 3 {
					write()
				}
				for _, f := range all {
					f.settle()
					f.mu.Lock()
					if f.refetch > 0 {
						t.Errorf("after restart %d %s began anew", i+1, f.name)
					}
					f.mu.Unlock()
				}
			}
		},
	})
}
