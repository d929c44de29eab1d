package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/perm"
	"github.com/tidemarkdb/tidemark/internal/perm/engine"
	"github.com/tidemarkdb/tidemark/internal/perm/graph"
	"github.com/tidemarkdb/tidemark/internal/pgtest"
	"github.com/tidemarkdb/tidemark/internal/revision"
	"github.com/tidemarkdb/tidemark/internal/tenant"
)

// TestMapped has rows of the application mean relationships, beside what calls
// write.
func TestMapped(t *testing.T) {
	r := mapped(t)
	ctx := t.Context()
	if _, err := r.perms.WriteSchema(ctx, "definition user {}\ndefinition document {\n  relation owner: user\n}\n"); !errors.Is(err, perm.ErrMappingUnfit) {
		t.Errorf("a schema that the mapping does not fit: %v", err)
	}
	r.schema(mappedSchema)
	r.db.Exec(t, "INSERT INTO docs VALUES ('a', 'ana'), ('b', 'bea'), ('c', NULL), ('d', 'not an id')")
	r.db.Exec(t, "INSERT INTO shares VALUES ('a', 'bob'), ('a', 'bob'), ('b', 'bob')")
	r.write(perm.Touch, "document:a#reader@user:rea")
	good := append([]string{selectMapped[0] + " AND owner NOT LIKE '% %'"}, selectMapped[1:]...)
	r.same(good...)
	for who, want := range map[string]engine.Has{"ana": engine.Yes, "bob": engine.Yes, "rea": engine.Yes, "bea": engine.No} {
		if got := check(t, r.view(fully), "document:a", "view", "user:"+who); got != want {
			t.Errorf("%s: %v", who, got)
		}
	}
	// Two rows mean one relationship; it is there as long as one of them is.
	r.db.Exec(t, "DELETE FROM shares WHERE ctid = (SELECT min(ctid) FROM shares WHERE doc = 'a')")
	if check(t, r.view(fully), "document:a", "view", "user:bob") != engine.Yes {
		t.Error("one of two rows went, and with it the relationship")
	}
	r.db.Exec(t, "UPDATE shares SET doc = 'b' WHERE doc = 'a'")
	r.db.Exec(t, "UPDATE docs SET deleted = true WHERE id = 'a'")
	r.same(good...)

	var mappedErr *perm.MappedError
	for _, op := range []perm.Op{perm.Create, perm.Touch, perm.Delete} {
		if _, err := r.perms.Write(ctx, perm.Write{Updates: updates(op, "document:a#owner@user:eve")}); !errors.As(err, &mappedErr) {
			t.Errorf("a write of a mapped relation: %v", err)
		}
	}
	if _, err := r.perms.Import(ctx, batches(one("document:a#viewer@user:eve"))); !errors.As(err, &mappedErr) {
		t.Errorf("an import of a mapped relation: %v", err)
	}
	if _, err := r.perms.Delete(ctx, perm.Deletion{Filter: graph.Filter{ResourceType: "document", Relation: "owner"}}); !errors.As(err, &mappedErr) {
		t.Errorf("a deletion of a mapped relation: %v", err)
	}
	if d, err := r.perms.Delete(ctx, perm.Deletion{Filter: graph.Filter{ResourceType: "document"}}); err != nil || d.Count != 1 {
		t.Errorf("a deletion of what was written: %+v %v", d, err)
	}
	// Preconditions see both.
	for _, c := range []struct {
		who  string
		want string
	}{{"bea", ""}, {"ana", "precondition"}} {
		_, err := r.perms.Write(ctx, perm.Write{
			Updates:       updates(perm.Touch, "document:z#reader@user:"+c.who),
			Preconditions: []perm.Precondition{{Filter: graph.Filter{ResourceType: "document", Relation: "owner", Subject: &graph.SubjectFilter{Type: "user", ID: c.who}}}},
		})
		if kind(err) != c.want {
			t.Errorf("%s: %v", c.who, err)
		}
	}
	r.db.Exec(t, "TRUNCATE shares")
	r.same(good...)
	r.stop()
	r.start(withMapping(t, mappingText))
	r.same(good...)
	if st, _ := r.tenant.PermissionStatus(); st.Relationships != 2 {
		t.Errorf("%+v", st)
	}
}

// TestMappedDefinitions changes what tables are while others write, with the
// triggers that tell of it and without.
func TestMappedDefinitions(t *testing.T) {
	for _, triggers := range []bool{true, false} {
		t.Run(fmt.Sprintf("triggers=%v", triggers), func(t *testing.T) {
			db := pgtest.DB(t)
			db.Exec(t, `CREATE TABLE docs (id text, owner text, deleted bool NOT NULL DEFAULT false, body text) PARTITION BY LIST (id);
				CREATE TABLE docs_a PARTITION OF docs FOR VALUES IN ('a', 'b', 'c');
				CREATE TABLE docs_d (id text, owner text, deleted bool NOT NULL DEFAULT false, body text);
				CREATE TABLE shares (doc text, usr text);
				INSERT INTO docs_d SELECT 'd', 'u' || n FROM generate_series(1, 10) n`)
			install(t, db, "docs", "shares")
			db.Exec(t, "ALTER TABLE docs_d REPLICA IDENTITY FULL")
			if !triggers {
				db.Exec(t, "DROP EVENT TRIGGER tidemark_ddl")
				db.Exec(t, "DROP EVENT TRIGGER tidemark_drop")
			}
			r := newRig(t, db, func(o *tenant.Options) {
				withMapping(t, mappingText)(o)
				if triggers {
					o.PollInterval = time.Hour // nothing but the log tells
				}
			})
			r.schema(mappedSchema)
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn := db.Conn(t)
				rnd := rand.New(rand.NewPCG(1, 11))
				for ctx.Err() == nil {
					u, d := rnd.IntN(20), []string{"a", "b", "c", "d"}[rnd.IntN(4)]
					sql := fmt.Sprintf("INSERT INTO docs (id, owner) VALUES ('%s', 'u%d'); INSERT INTO shares VALUES ('%s', 'u%d')", d, u, d, u)
					if rnd.IntN(2) == 0 {
						sql = fmt.Sprintf("DELETE FROM docs WHERE id = '%s' AND owner = 'u%d'; DELETE FROM shares WHERE doc = '%s'", d, u, d)
					}
					// Without the partition some fail.
					_, _ = conn.Exec(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
				}
			}()
			for _, sql := range []string{
				"ALTER TABLE docs ADD COLUMN more int DEFAULT 7",
				"CREATE TABLE unrelated (id int PRIMARY KEY)",
				"ALTER TABLE docs_d ADD COLUMN more int DEFAULT 7",
				"ALTER PUBLICATION tidemark ADD TABLE docs_d",
				"ALTER TABLE docs ATTACH PARTITION docs_d FOR VALUES IN ('d')",
				"ALTER TABLE docs DROP COLUMN more",
				"ALTER TABLE shares ALTER usr TYPE varchar(20)",
				"ALTER TABLE docs DETACH PARTITION docs_d",
				"TRUNCATE shares",
				"ALTER TABLE docs ATTACH PARTITION docs_d FOR VALUES IN ('d')",
			} {
				time.Sleep(120 * time.Millisecond)
				db.Exec(t, sql)
			}
			time.Sleep(200 * time.Millisecond)
			cancel()
			<-done
			if !triggers {
				time.Sleep(time.Second) // two looks at the definitions
			}
			r.same(selectMapped...)
			// And one that leaves the mapping without a meaning, until it has one again.
			db.Exec(t, "ALTER TABLE shares RENAME COLUMN usr TO who")
			r.until("it is found out", func() bool {
				short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				defer cancel()
				_, err := r.perms.View(short, revision.Requirement{})
				return errors.Is(err, perm.ErrLoading)
			})
			db.Exec(t, "ALTER TABLE shares RENAME COLUMN who TO usr")
			db.Exec(t, "INSERT INTO shares VALUES ('a', 'last')")
			r.same(selectMapped...)
		})
	}
}

// TestDefinitionsElsewhere changes what has nothing to do with relationships:
// nothing is loaded again, and nobody fails.
func TestDefinitionsElsewhere(t *testing.T) {
	r := mapped(t)
	r.schema(mappedSchema)
	r.db.Exec(t, "INSERT INTO docs VALUES ('a', 'ana')")
	before := r.view(fully)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	together(3, func(i int) {
		if i == 0 {
			for n := 0; ctx.Err() == nil; n++ {
				r.db.Exec(t, fmt.Sprintf("CREATE TABLE elsewhere%d (id int PRIMARY KEY)", n))
			}
			return
		}
		for ctx.Err() == nil {
			if _, err := r.perms.View(context.Background(), []revision.Requirement{{}, fully}[i%2]); err != nil {
				t.Error(err)
				return
			}
		}
	})
	if after := r.view(fully); after.Graph.Graph() != before.Graph.Graph() {
		t.Error("everything was loaded again")
	}
}
