package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tidemarkdb/tidemark/internal/catalog"
)

// readState asks the database everything that a report is made from.
func readState(ctx context.Context, conn *pgx.Conn, in Input) (*state, error) {
	st := &state{}
	err := conn.QueryRow(ctx, `
SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
       current_database(), quote_ident(current_database()), current_user, quote_ident(current_user),
       quote_ident($1)`, in.Publication).Scan(
		&st.Version, &st.Release, &st.InRecovery,
		&st.Database, &st.DatabaseSQL, &st.User, &st.UserSQL, &st.PublicationID)
	if err != nil {
		return nil, err
	}
	if st.Version < 140000 || st.InRecovery {
		return st, nil
	}
	for _, read := range []func(context.Context, *pgx.Conn, Input) error{
		st.readRights, st.readSettings, st.readObjects, st.readPublication,
		st.readTables, st.readCoverage, st.readSlot, st.readTransactions,
	} {
		if err := read(ctx, conn, in); err != nil {
			return nil, err
		}
	}
	st.probeReplication(ctx, conn)
	return st, ctx.Err()
}

func (st *state) readRights(ctx context.Context, conn *pgx.Conn, _ Input) error {
	var pid uint32
	err := conn.QueryRow(ctx, `
SELECT rolsuper, rolreplication, pg_has_role('pg_read_all_stats', 'USAGE'),
       has_database_privilege(current_database(), 'CREATE'), has_database_privilege(current_database(), 'TEMP'),
       pg_backend_pid()
FROM pg_roles WHERE rolname = current_user`).Scan(
		&st.Superuser, &st.Replication, &st.Monitor, &st.CanCreate, &st.CanTemp, &pid)
	// A pooler hands out a process id of its own.
	st.Pooled = pid != conn.PgConn().PID()
	return err
}

// settingUnits are the factors from pg_settings' units to bytes and
// milliseconds.
var settingUnits = map[string]int64{
	"": 1, "B": 1, "kB": 1 << 10, "8kB": 8 << 10, "MB": 1 << 20,
	"ms": 1, "s": 1000, "min": 60_000,
}

func (st *state) readSettings(ctx context.Context, conn *pgx.Conn, _ Input) error {
	rows, err := conn.Query(ctx, `
SELECT name, setting, coalesce(unit, '') FROM pg_settings
WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders', 'max_slot_wal_keep_size',
  'wal_sender_timeout', 'idle_replication_slot_timeout', 'synchronous_commit')`)
	if err != nil {
		return err
	}
	st.Settings = make(map[string]int64)
	var name, value, unit string
	if _, err = pgx.ForEachRow(rows, []any{&name, &value, &unit}, func() error {
		switch name {
		case "wal_level":
			st.WALLevel = value
		case "synchronous_commit":
			st.SyncCommit = value
		default:
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return fmt.Errorf("setting %s: %w", name, err)
			}
			if n > 0 {
				n *= settingUnits[unit]
			}
			st.Settings[name] = n
		}
		return nil
	}); err != nil {
		return err
	}
	return conn.QueryRow(ctx, `
SELECT (SELECT count(*) FROM pg_replication_slots),
       (SELECT count(*) FROM pg_stat_get_wal_senders())`).Scan(&st.Slots, &st.WALSenders)
}

var versionComment = regexp.MustCompile(`version (\d+)`)

func (st *state) readObjects(ctx context.Context, conn *pgx.Conn, _ Input) error {
	err := conn.QueryRow(ctx, `
SELECT count(*) > 0, coalesce(bool_or(has_schema_privilege(oid, 'CREATE')), false)
FROM pg_namespace WHERE nspname = 'tidemark'`).Scan(&st.SchemaExists, &st.SchemaCreate)
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `
SELECT p.proname, coalesce(obj_description(p.oid, 'pg_proc'), ''), pg_has_role(p.proowner, 'USAGE')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'tidemark' AND p.pronargs = 0 AND p.proname IN ('token', 'on_ddl')`)
	if err != nil {
		return err
	}
	var name, comment string
	var owned bool
	if _, err = pgx.ForEachRow(rows, []any{&name, &comment, &owned}, func() error {
		o := object{Exists: true, Owned: owned}
		if m := versionComment.FindStringSubmatch(comment); m != nil {
			o.Version, _ = strconv.Atoi(m[1])
		}
		if name == "token" {
			st.Token = o
		} else {
			st.OnDDL = o
		}
		return nil
	}); err != nil {
		return err
	}
	if err := st.readPermissions(ctx, conn); err != nil {
		return err
	}
	rows, err = conn.Query(ctx, `
SELECT e.evtname, e.evtenabled = 'A' AND e.evttags IS NULL AND n.nspname = 'tidemark' AND p.proname = 'on_ddl'
  AND e.evtevent = CASE e.evtname WHEN 'tidemark_ddl' THEN 'ddl_command_end' ELSE 'sql_drop' END
FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE e.evtname IN ('tidemark_ddl', 'tidemark_drop')`)
	if err != nil {
		return err
	}
	st.Triggers = make(map[string]bool)
	var works bool
	_, err = pgx.ForEachRow(rows, []any{&name, &works}, func() error {
		st.Triggers[name] = works
		return nil
	})
	return err
}

func (st *state) readPublication(ctx context.Context, conn *pgx.Conn, in Input) error {
	var p publication
	err := conn.QueryRow(ctx, `
SELECT pg_has_role(pubowner, 'USAGE'), quote_ident(pg_get_userbyid(pubowner)), puballtables, pubinsert, pubupdate, pubdelete,
       pubtruncate, pubviaroot, coalesce(to_jsonb(p)->>'pubgencols', 's') = 's'
FROM pg_publication p WHERE pubname = $1`, in.Publication).Scan(
		&p.Owned, &p.Owner, &p.AllTables, &p.Insert, &p.Update, &p.Delete, &p.Truncate, &p.ViaRoot, &p.StoredGenerated)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	st.Publication = &p
	return err
}

const tablesQuery = `
WITH RECURSIVE asked AS (
  SELECT c.oid FROM unnest($1::text[], $2::text[]) w(s, n)
  JOIN pg_namespace ns ON ns.nspname = w.s
  JOIN pg_class c ON c.relnamespace = ns.oid AND c.relname = w.n
), tree AS (
  SELECT oid, 0 AS depth FROM asked
  UNION
  SELECT i.inhrelid, tree.depth + 1 FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid
)
SELECT c.oid, n.nspname, c.relname, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
  c.relkind::text, c.relpersistence = 'p', c.relreplident::text,
  EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indimmediate AND x.indisvalid),
  EXISTS (SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident AND x.indimmediate AND x.indisvalid),
  coalesce((
    SELECT quote_ident(ic.relname) FROM pg_index x JOIN pg_class ic ON ic.oid = x.indexrelid
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid
      AND x.indpred IS NULL AND x.indexprs IS NULL
      AND NOT EXISTS (
        SELECT FROM generate_series(0, x.indnkeyatts - 1) k
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[k]
        WHERE NOT a.attnotnull OR a.attgenerated <> '')
    ORDER BY x.indnkeyatts, x.indexrelid LIMIT 1), ''),
  pg_has_role(c.relowner, 'USAGE'), quote_ident(pg_get_userbyid(c.relowner)),
  has_any_column_privilege(c.oid, 'SELECT'),
  EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attgenerated = 's'),
  EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attgenerated = 'v'),
  c.oid IN (SELECT oid FROM asked),
  c.relispartition,
  coalesce((SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1), 0)
FROM (SELECT oid, max(depth) AS depth FROM tree GROUP BY oid) t
JOIN pg_class c ON c.oid = t.oid JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY t.depth, 4`

func (st *state) readTables(ctx context.Context, conn *pgx.Conn, in Input) error {
	schemas, names := make([]string, len(in.Tables)), make([]string, len(in.Tables))
	for i, t := range in.Tables {
		schemas[i], names[i] = t.Schema, t.Name
	}
	rows, err := conn.Query(ctx, tablesQuery, schemas, names)
	if err != nil {
		return err
	}
	found := make(map[Table]bool)
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		t := &table{}
		var name Table
		var kind, identity string
		var byIndex bool
		err := row.Scan(&t.OID, &name.Schema, &name.Name, &t.SQL, &kind, &t.Permanent, &identity, &t.HasKey, &byIndex, &t.Index,
			&t.Owned, &t.Owner, &t.CanSelect, &t.Stored, &t.Virtual, &t.Asked, &t.Partition, &t.Parent)
		if err != nil {
			return struct{}{}, err
		}
		t.Kind, t.Identity = kind[0], catalog.Identity(identity[0])
		switch t.Identity {
		case catalog.IdentityFull:
			t.Usable = true
		case catalog.IdentityDefault:
			t.Usable = t.HasKey
		case catalog.IdentityIndex:
			t.Usable = byIndex
		}
		found[name], t.Name = true, name
		st.Tables = append(st.Tables, t)
		return struct{}{}, nil
	})
	for _, t := range in.Tables {
		if !found[t] {
			st.Missing = append(st.Missing, t)
		}
	}
	// Who reads a table reads what is below it without further rights.
	for _, t := range st.Tables {
		t.Asked = t.Asked && !slices.ContainsFunc(st.Tables, func(o *table) bool { return o.OID == t.Parent })
	}
	return err
}

// readCoverage finds which publications have the tables, and how.
func (st *state) readCoverage(ctx context.Context, conn *pgx.Conn, in Input) error {
	inSchema := "false"
	if st.Version >= 150000 {
		inSchema = `EXISTS (SELECT FROM pg_publication_namespace pn JOIN a ON true JOIN pg_class c ON c.oid = a.relid
      WHERE pn.pnpubid = p.oid AND pn.pnnspid = c.relnamespace)`
	}
	byOID := make(map[uint32]*table, len(st.Tables))
	oids := make([]uint32, 0, len(st.Tables))
	for _, t := range st.Tables {
		byOID[t.OID] = t
		oids = append(oids, t.OID)
	}
	rows, err := conn.Query(ctx, `
SELECT t.oid, p.pubname, p.pubupdate OR p.pubdelete, v.filtered, v.listed, coalesce(to_jsonb(p)->>'pubgencols', 's') = 's'
FROM unnest($1::oid[]) t(oid) CROSS JOIN pg_publication p CROSS JOIN LATERAL (
  WITH a AS (SELECT t.oid AS relid UNION SELECT relid::oid FROM pg_partition_ancestors(t.oid)),
  members AS (SELECT to_jsonb(pr) AS pr FROM pg_publication_rel pr JOIN a ON a.relid = pr.prrelid WHERE pr.prpubid = p.oid)
  SELECT p.puballtables OR EXISTS (SELECT FROM members) OR `+inSchema+` AS covered,
    EXISTS (SELECT FROM members WHERE pr->>'prqual' IS NOT NULL) AS filtered,
    EXISTS (SELECT FROM members WHERE pr->>'prattrs' IS NOT NULL) AS listed) v
WHERE v.covered ORDER BY t.oid, p.pubname`, oids)
	if err != nil {
		return err
	}
	var oid uint32
	var name string
	var updates, filtered, listed, generated bool
	_, err = pgx.ForEachRow(rows, []any{&oid, &name, &updates, &filtered, &listed, &generated}, func() error {
		t := byOID[oid]
		if name == in.Publication {
			t.Published, t.Filter, t.ColumnList = true, filtered, listed
		} else if updates {
			t.Elsewhere = append(t.Elsewhere, elsewhere{Publication: name, ColumnList: listed, StoredGenerated: generated})
		}
		return nil
	})
	if err != nil || st.Publication == nil || !st.Publication.Update && !st.Publication.Delete {
		return err
	}
	rows, err = conn.Query(ctx, `
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
FROM pg_publication_tables pt
JOIN pg_namespace n ON n.nspname = pt.schemaname
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = pt.tablename
WHERE pt.pubname = $1 AND c.relkind = 'r' AND c.oid <> ALL ($2) AND (
  c.relreplident = 'n'
  OR c.relreplident = 'd' AND NOT EXISTS (
    SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisprimary AND x.indimmediate AND x.indisvalid)
  OR c.relreplident = 'i' AND NOT EXISTS (
    SELECT FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident AND x.indimmediate AND x.indisvalid))
ORDER BY 1 LIMIT 20`, in.Publication, oids)
	if err != nil {
		return err
	}
	st.Breaking, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

func (st *state) readSlot(ctx context.Context, conn *pgx.Conn, in Input) error {
	var text []byte
	var retained *int64
	err := conn.QueryRow(ctx, `
SELECT to_jsonb(s), pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint
FROM pg_replication_slots s WHERE slot_name = $1`, in.Slot).Scan(&text, &retained)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var row struct {
		Plugin       string `json:"plugin"`
		Type         string `json:"slot_type"`
		Database     string `json:"database"`
		Active       bool   `json:"active"`
		ActivePID    int32  `json:"active_pid"`
		WALStatus    string `json:"wal_status"`
		SafeSize     *int64 `json:"safe_wal_size"`
		Invalidation string `json:"invalidation_reason"`
	}
	if err := json.Unmarshal(text, &row); err != nil {
		return err
	}
	st.Slot = &slot{
		Plugin: row.Plugin, Logical: row.Type == "logical", Database: row.Database,
		Active: row.Active, ActivePID: row.ActivePID,
		WALStatus: row.WALStatus, Invalidation: row.Invalidation, SafeSize: -1,
	}
	if row.SafeSize != nil {
		st.Slot.SafeSize = *row.SafeSize
	}
	if retained != nil {
		st.Slot.Retained = *retained
	}
	return nil
}

func (st *state) readTransactions(ctx context.Context, conn *pgx.Conn, in Input) error {
	scan := func(row pgx.CollectableRow) (transaction, error) {
		var t transaction
		var seconds float64
		err := row.Scan(&t.PID, &t.GID, &t.User, &t.State, &seconds)
		t.Age = time.Duration(seconds * float64(time.Second)).Round(time.Second)
		return t, err
	}
	rows, err := conn.Query(ctx, `
SELECT pid, '', coalesce(usename, ''), coalesce(state, ''), extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
  AND clock_timestamp() - xact_start >= make_interval(secs => $1)
ORDER BY xact_start`, in.LongTransaction.Seconds())
	if err != nil {
		return err
	}
	if st.LongTransactions, err = pgx.CollectRows(rows, scan); err != nil {
		return err
	}
	rows, err = conn.Query(ctx, `
SELECT 0, gid, owner::text, '', extract(epoch FROM clock_timestamp() - prepared)::float8
FROM pg_prepared_xacts WHERE clock_timestamp() - prepared >= make_interval(secs => $1) ORDER BY prepared`,
		in.LongTransaction.Seconds())
	if err != nil {
		return err
	}
	st.Prepared, err = pgx.CollectRows(rows, scan)
	return err
}

// probeReplication opens a replication connection the way the feed will and
// closes it. It finds out what no catalog shows: poolers, and services that
// grant the right by other means than the role attribute.
func (st *state) probeReplication(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	config := conn.Config().Config.Copy()
	config.RuntimeParams["replication"] = "database"
	probe, err := pgconn.ConnectConfig(ctx, config)
	if err == nil {
		defer func() { _ = probe.Close(ctx) }()
		var results []*pgconn.Result
		if results, err = probe.Exec(ctx, "IDENTIFY_SYSTEM").ReadAll(); err == nil {
			var here string
			err = conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&here)
			st.OtherServer = err == nil && (len(results) != 1 || len(results[0].Rows) != 1 || string(results[0].Rows[0][0]) != here)
		}
	}
	if err != nil {
		st.WALSender = err
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) {
			st.WALSender, st.WALSenderCode = errors.New(pgErr.Message), pgErr.Code
		}
	}
}
