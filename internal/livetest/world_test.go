package livetest

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

// scenario has tables and endpoints of its own in a database and a server that
// it shares with others.
type scenario struct {
	name      string
	schema    string
	prepare   func(testing.TB, *pgtest.Database, *rand.Rand) // more of the schema
	tables    string                                         // lines of tables.yaml, where schema public does not do
	endpoints map[string]string
	run       func(t *testing.T, w *world)
	restarts  bool // the server, so that streams end as soon as they have begun
}

// world is what scenarios share.
type world struct {
	*tidemark
	node *node
	rng  *rand.Rand // of one scenario
}

func seedOf(t testing.TB) uint64 {
	seed := uint64(time.Now().UnixNano()) % 1e9
	if s := os.Getenv("TIDEMARK_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("TIDEMARK_SEED=%d", seed)
	return seed
}

// play runs scenarios at the same time, on one server.
func play(t *testing.T, live string, scenarios ...scenario) {
	n := startNode(t)
	db := pgtest.DB(t)
	set := settings{live: live, tables: "- schema: public\n", endpoints: map[string]string{}}
	seed := seedOf(t)
	for i, s := range scenarios {
		db.Exec(t, s.schema)
		if s.prepare != nil {
			s.prepare(t, db, rand.New(rand.NewPCG(seed, uint64(i))))
		}
		set.tables += s.tables
		maps.Copy(set.endpoints, s.endpoints)
	}
	m := newTidemark(t, db, set)
	t.Run("on one server", func(t *testing.T) {
		for i, s := range scenarios {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				s.run(t, &world{tidemark: &tidemark{t, m.server}, node: n, rng: rand.New(rand.NewPCG(seed, uint64(i)))})
			})
		}
	})
	// The client complains when a stream closes early or a header is missing.
	for _, w := range n.warnings() {
		switch {
		case strings.Contains(w, "409 response without a shape handle header"): // the one to go on with may not be known yet
		case strings.Contains(w, "SSE connections are closing immediately") && slices.ContainsFunc(scenarios, func(s scenario) bool { return s.restarts }):
		default:
			t.Errorf("the client warns: %.300s", w)
		}
	}
}

// base is what clients put before a path.
func (m *tidemark) base() string { return strings.TrimSuffix(m.url("/"), "/") }

// follow opens a stream of this server.
func (w *world) follow(t testing.TB, v *view, o following) *follower {
	t.Helper()
	return w.node.follow(t, w.base(), v, o)
}
