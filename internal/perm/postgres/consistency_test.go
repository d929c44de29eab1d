package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// pauseLog stops the server's sending of the log until resume is called.
func (r *rig) pauseLog() (resume func()) {
	r.t.Helper()
	pid := int(r.tenant.Status().Feed.PID)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			r.t.Error(err)
		}
	})
}

// viewer is who may give views; impatient is what it must not be.
type viewer interface {
	View(context.Context, revision.Requirement) (perm.View, error)
}

// impatient gives at once what there is.
type impatient struct{ perm.Backend }

func (i impatient) View(ctx context.Context, _ revision.Requirement) (perm.View, error) {
	return i.Backend.View(ctx, revision.Requirement{})
}

// register is one relationship whose context has a value.
type registerInput struct {
	document int
	write    bool
	value    int
}

var registers = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byDocument := map[int][]porcupine.Operation{}
		for _, op := range history {
			d := op.Input.(registerInput).document
			byDocument[d] = append(byDocument[d], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byDocument {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return 0 },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(registerInput); in.write {
			return true, in.value
		}
		return output.(int) == state.(int), state
	},
}

func registerText(document, value int) string {
	return fmt.Sprintf(`document:r%d#viewer@user:u[weekday:{"allowed":[%d]}]`, document, value)
}

func readRegister(v perm.View, document int) int {
	for _, found := range v.Graph.Lookup(rel(registerText(document, 0)).Key()) {
		var value int
		if _, err := fmt.Sscanf(found.Context, `{"allowed":[%d]}`, &value); err == nil {
			return value
		}
	}
	return 0
}

// history has clients write registers, by calls and with SQL, and read them fully
// consistently, while the log stops now and then.
func history(r *rig, from viewer, d time.Duration) []porcupine.Operation {
	ctx := context.Background()
	began := time.Now()
	var mu sync.Mutex
	var ops []porcupine.Operation
	stop := make(chan struct{})
	var pauses sync.WaitGroup
	pauses.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(150 * time.Millisecond):
				resume := r.pauseLog()
				time.Sleep(100 * time.Millisecond)
				resume()
			}
		}
	})
	together(8, func(i int) {
		rnd := rand.New(rand.NewPCG(uint64(i), 8))
		conn := r.db.Conn(r.t)
		for n := 1; time.Since(began) < d; n++ {
			op := porcupine.Operation{ClientId: i, Input: registerInput{document: rnd.IntN(3)}, Call: time.Since(began).Nanoseconds()}
			in := op.Input.(registerInput)
			var err error
			if i < 4 {
				in.write, in.value = true, i*1_000_000+n
				op.Input = in
				switch i {
				case 0, 1:
					_, err = r.perms.Write(ctx, perm.Write{Updates: updates(perm.Touch, registerText(in.document, in.value))})
				default:
					_, err = conn.Exec(ctx, fmt.Sprintf("BEGIN; SET LOCAL synchronous_commit = %s; "+
						`INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id, caveat, context)
						VALUES ('document', 'r%d', 'viewer', 'user', 'u', 'weekday', '{"allowed":[%d]}')
						ON CONFLICT (resource_type, resource_id, relation, subject_type, subject_id, subject_relation)
						DO UPDATE SET context = excluded.context; COMMIT`, []string{"on", "off"}[i%2], in.document, in.value), pgx.QueryExecModeSimpleProtocol)
				}
				op.Output = 0
			} else {
				var v perm.View
				if v, err = from.View(ctx, fully); err == nil {
					op.Output = readRegister(v, in.document)
				}
			}
			op.Return = time.Since(began).Nanoseconds()
			if err != nil {
				r.t.Error(err)
				return
			}
			mu.Lock()
			ops = append(ops, op)
			mu.Unlock()
			time.Sleep(time.Duration(rnd.IntN(8)) * time.Millisecond)
		}
	})
	close(stop)
	pauses.Wait()
	return ops
}

// TestLinearizable reads fully consistently what others write, as if there were no
// log between.
func TestLinearizable(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	ops := history(r, r.perms, 4*time.Second)
	t.Logf("%d operations", len(ops))
	if len(ops) < 200 {
		t.Errorf("only %d operations", len(ops))
	}
	if res := porcupine.CheckOperationsTimeout(registers, ops, time.Minute); res != porcupine.Ok {
		t.Errorf("%v", res)
	}
	r.db.Exec(t, "DELETE FROM tidemark.relationships")
	r.view(fully)
	if res := porcupine.CheckOperationsTimeout(registers, history(r, impatient{r.perms}, 1500*time.Millisecond), time.Minute); res != porcupine.Illegal {
		t.Errorf("one that does not wait is not found out: %v", res)
	}
}

// TestReadsAtTokens has writers note the position of each of their writes, and
// readers read at the tokens of others: what a view shows is the last write before
// its position, and that is no earlier than what was asked for.
func TestReadsAtTokens(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	type written struct {
		at    revision.LSN
		value int
	}
	type seen struct {
		document, value int
		asked, got      revision.LSN
		exact           bool
	}
	var mu sync.Mutex
	byDocument := map[int][]written{}
	var tokens []string
	var reads []seen
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	together(8, func(i int) {
		rnd := rand.New(rand.NewPCG(uint64(i), 9))
		for n := 1; ctx.Err() == nil; n++ {
			d, value := rnd.IntN(4), i*1_000_000+n
			if i < 4 {
				token, err := r.perms.Write(context.Background(), perm.Write{Updates: updates(perm.Touch, registerText(d, value))})
				if err != nil {
					t.Error(err)
					return
				}
				tok, _ := r.perms.Parse(token)
				if tok.Kind != revision.KindPosition {
					continue
				}
				mu.Lock()
				byDocument[d] = append(byDocument[d], written{tok.LSN, value})
				tokens = append(tokens, token)
				mu.Unlock()
				continue
			}
			mu.Lock()
			var token string
			if len(tokens) > 0 {
				token = tokens[max(0, len(tokens)-1-rnd.IntN(30))]
			}
			mu.Unlock()
			if token == "" {
				continue
			}
			tok, _ := r.perms.Parse(token)
			req := revision.Requirement{Level: revision.AtLeastAsFresh, Token: tok}
			if n%2 == 0 {
				req.Level = revision.AtExactSnapshot
			}
			v, err := r.perms.View(context.Background(), req)
			if err != nil {
				t.Error(err)
				return
			}
			at, _ := r.perms.Parse(v.Token)
			mu.Lock()
			reads = append(reads, seen{d, readRegister(v, d), tok.LSN, at.LSN, req.Level == revision.AtExactSnapshot})
			mu.Unlock()
		}
	})
	for _, all := range byDocument {
		slices.SortFunc(all, func(x, y written) int { return int(x.at) - int(y.at) })
	}
	for _, s := range reads {
		want := 0
		for _, w := range byDocument[s.document] {
			if w.at <= s.got {
				want = w.value
			}
		}
		if s.value != want || s.got < s.asked || s.exact && s.got != s.asked {
			t.Fatalf("%+v, want %d", s, want)
		}
	}
	t.Logf("%d writes, %d reads", len(tokens), len(reads))
	if len(tokens) < 50 || len(reads) < 200 {
		t.Errorf("%d writes, %d reads: too few", len(tokens), len(reads))
	}
	r.same()
}

const mappingText = `relationships:
  - document:{id}#owner@user:{owner} from docs where not deleted
  - document:{doc}#viewer@user:{usr} from shares
`

const mappedTables = `CREATE TABLE docs (id text PRIMARY KEY, owner text, deleted bool NOT NULL DEFAULT false, body text);
	CREATE TABLE shares (doc text, usr text)`

const mappedSchema = "definition user {}\ndefinition document {\n  relation owner: user\n  relation viewer: user\n  relation reader: user\n  permission view = owner + viewer + reader\n}\n"

// selectMapped is what the rows mean.
var selectMapped = []string{
	"SELECT 'document:' || id || '#owner@user:' || owner, '', '', 0::bigint FROM docs WHERE NOT deleted AND owner IS NOT NULL",
	"SELECT 'document:' || doc || '#viewer@user:' || usr, '', '', 0::bigint FROM shares",
}

func mapped(t testing.TB) *rig {
	t.Helper()
	db := pgtest.DB(t)
	db.Exec(t, mappedTables)
	install(t, db, "docs", "shares")
	return newRig(t, db, withMapping(t, mappingText))
}

func withMapping(t testing.TB, text string) func(*tenant.Options) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mapping.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(o *tenant.Options) { o.Permissions.Mapping = path }
}

// sqlToken is what an application asks for in its transaction.
func sqlToken(t testing.TB, tx pgx.Tx) (s string) {
	t.Helper()
	if err := tx.QueryRow(context.Background(), "SELECT tidemark.token()").Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestNewEnemy takes a right away and then writes what its holder must not see,
// in every combination of ways, orders of transaction ids and pauses of the log.
// At the token of the content, the right is gone.
func TestNewEnemy(t *testing.T) {
	r := mapped(t)
	r.schema(mappedSchema)
	ctx := context.Background()
	content, rights := r.db.Conn(t), r.db.Conn(t)
	found := 0 // times that one that does not wait let bob in
	for n := range 3 * 2 * 3 * 3 {
		way, contentFirst, pause, level := n%3, n/3%2 == 0, n/6%3, n/18%3
		doc := fmt.Sprintf("d%d", n)
		// Bob may read the document.
		switch way {
		case 0:
			r.write(perm.Touch, "document:"+doc+"#reader@user:bob")
		case 1:
			r.db.Exec(t, "INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id) VALUES ('document', $1, 'reader', 'user', 'bob')", doc)
		case 2:
			r.db.Exec(t, "INSERT INTO shares VALUES ($1, 'bob')", doc)
		}
		if check(t, r.view(fully), "document:"+doc, "view", "user:bob") != engine.Yes {
			t.Fatalf("case %d: bob may not view", n)
		}
		resume := func() {}
		if pause == 1 {
			resume = r.pauseLog()
		}
		// The content's transaction may begin, with an id, before the other.
		var tx pgx.Tx
		begin := func() {
			var err error
			if tx, err = content.Begin(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(ctx, "INSERT INTO docs (id, body) VALUES ($1, 'for alice only')", doc); err != nil {
				t.Fatal(err)
			}
		}
		if contentFirst {
			begin()
		}
		switch way {
		case 0:
			w := make(chan error, 1)
			go func() {
				_, err := r.perms.Write(ctx, perm.Write{Updates: updates(perm.Delete, "document:"+doc+"#reader@user:bob")})
				w <- err
			}()
			if err := <-w; err != nil {
				t.Fatal(err)
			}
		case 1:
			if _, err := rights.Exec(ctx, "DELETE FROM tidemark.relationships WHERE resource_id = $1", doc); err != nil {
				t.Fatal(err)
			}
		case 2:
			if _, err := rights.Exec(ctx, "DELETE FROM shares WHERE doc = $1", doc); err != nil {
				t.Fatal(err)
			}
		}
		if pause == 2 {
			resume = r.pauseLog()
		}
		if !contentFirst {
			begin()
		}
		token := sqlToken(t, tx)
		if err := tx.Commit(ctx); err != nil {
			t.Fatal(err)
		}
		tok, err := r.perms.Parse(token)
		if err != nil {
			t.Fatal(err)
		}
		req := revision.Requirement{Level: []revision.Level{revision.AtLeastAsFresh, revision.AtExactSnapshot, revision.FullyConsistent}[level], Token: tok}
		if v, err := (impatient{r.perms}).View(ctx, req); err == nil && check(t, v, "document:"+doc, "view", "user:bob") == engine.Yes {
			found++
		}
		done := make(chan error, 1)
		go func() {
			v, err := r.perms.View(ctx, req)
			if err == nil && check(t, v, "document:"+doc, "view", "user:bob") != engine.No {
				err = errors.New("bob may view what was written after his right went")
			}
			done <- err
		}()
		if pause > 0 {
			select {
			case err := <-done:
				t.Errorf("case %d: it did not wait for the log: %v", n, err)
				done <- err
			case <-time.After(30 * time.Millisecond):
			}
		}
		resume()
		if err := <-done; err != nil {
			t.Errorf("case %d (way %d, content first %v, pause %d): %v", n, way, contentFirst, pause, err)
		}
		// The other way round: a right given afterwards is none of then.
		switch way {
		case 0:
			r.write(perm.Touch, "document:"+doc+"#reader@user:bob")
		case 1:
			r.db.Exec(t, "INSERT INTO tidemark.relationships (resource_type, resource_id, relation, subject_type, subject_id) VALUES ('document', $1, 'reader', 'user', 'bob')", doc)
		case 2:
			r.db.Exec(t, "INSERT INTO shares VALUES ($1, 'bob')", doc)
		}
		if check(t, r.view(fully), "document:"+doc, "view", "user:bob") != engine.Yes {
			t.Errorf("case %d: the right that was given is not there", n)
		}
		if check(t, r.at(revision.AtExactSnapshot, token), "document:"+doc, "view", "user:bob") != engine.No {
			t.Errorf("case %d: a right that was given later counts for the content of before", n)
		}
	}
	if found < 10 {
		t.Errorf("one that does not wait was found out only %d times", found)
	}
	r.same(selectMapped...)
}

// TestCheckIsOfOnePosition changes two relationships in one transaction; a view
// has both or neither.
func TestCheckIsOfOnePosition(t *testing.T) {
	r := start(t)
	r.schema(sampleSchema)
	r.write(perm.Touch, "document:a#viewer@user:u")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	most := 0
	together(4, func(i int) {
		for n := 0; ctx.Err() == nil; n++ {
			if i == 0 {
				from, to := "document:a#viewer@user:u", "document:b#viewer@user:u"
				if n%2 == 1 {
					from, to = to, from
				}
				w := perm.Write{Updates: append(updates(perm.Delete, from), updates(perm.Create, to)...)}
				if _, err := r.perms.Write(context.Background(), w); err != nil {
					t.Error(err)
					return
				}
				most = n
				continue
			}
			v, err := r.perms.View(context.Background(), []revision.Requirement{{}, fully}[n%2])
			if err != nil {
				t.Error(err)
				return
			}
			if has := v.Graph.Count(graph.Filter{}); has != 1 {
				t.Errorf("%d relationships at once", has)
			}
		}
	})
	if most < 20 {
		t.Errorf("only %d moves", most)
	}
}
