package tenant

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// membership is what the publication was made of while the log was kept. A table
// that leaves it and comes back has changes that the log never brought; its place
// in the publication is then another one, which is how that is found out.
type membership struct {
	Publication uint32   `json:"publication"` // object ids
	AllTables   bool     `json:"all_tables"`
	Members     []uint32 `json:"members"` // of its tables and schemas
	Operations  string   `json:"operations"`

	at revision.LSN // where the database had written its log to, afterwards
}

func (m membership) same(n membership) bool {
	return m.Publication == n.Publication && m.AllTables == n.AllTables && m.Operations == n.Operations &&
		slices.Equal(m.Members, n.Members)
}

// queryer is a connection or a pool.
type queryer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// readMembership asks the database what a publication is made of.
func readMembership(ctx context.Context, db queryer, publication string) (membership, error) {
	var m membership
	var at string
	err := db.QueryRow(ctx, `
		SELECT coalesce(p.oid, 0), coalesce(p.puballtables, false),
		  concat(p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot),
		  coalesce((SELECT array_agg(d.objid ORDER BY d.objid) FROM pg_depend d
		    WHERE d.refclassid = 'pg_publication'::regclass AND d.refobjid = p.oid), '{}'),
		  pg_current_wal_insert_lsn()::text
		FROM (VALUES (1)) one LEFT JOIN pg_publication p ON p.pubname = $1`, publication).
		Scan(&m.Publication, &m.AllTables, &m.Operations, &m.Members, &at)
	if err == nil {
		m.at, err = revision.ParseLSN(at)
	}
	if err != nil {
		return membership{}, fmt.Errorf("ask what is published: %w", err)
	}
	return m, nil
}

// left says what a publication had and has no more, or nothing.
func (m membership) left(now membership) string {
	switch {
	case m.Publication != now.Publication:
		return "the publication was made anew"
	case m.AllTables && !now.AllTables || m.Operations != now.Operations:
		return "the publication was altered"
	}
	for _, oid := range m.Members {
		if _, ok := slices.BinarySearch(now.Members, oid); !ok {
			return "a table was taken out of the publication"
		}
	}
	return ""
}

const membershipFile = "publication.json"

// loadMembership reads what was published when the log was last kept in a folder;
// false if that is not known.
func loadMembership(dir string) (m membership, ok bool) {
	text, err := os.ReadFile(filepath.Join(dir, membershipFile))
	return m, err == nil && json.Unmarshal(text, &m) == nil
}

// save writes it in a folder, whole or not at all.
func (m membership) save(dir string) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, membershipFile+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, membershipFile))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
