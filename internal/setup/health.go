package setup

import (
	"fmt"
	"strings"
)

const gibibyte = 1 << 30

// server reports settings that keep tidemark from working or will hurt.
func (r *Report) server(st *state) {
	if st.WALLevel != "logical" {
		r.add(Error, "wal-level", "ALTER SYSTEM SET wal_level = 'logical'; then restart the server",
			"wal_level is %s; the log can be followed only with logical", st.WALLevel)
	}
	if limit := st.Settings["max_replication_slots"]; st.Slot == nil && int64(st.Slots) >= limit {
		r.add(Error, "max-replication-slots",
			fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; then restart the server", st.Slots+4),
			"all %d replication slots are in use", limit)
	}
	if limit := st.Settings["max_wal_senders"]; int64(st.WALSenders) >= limit && (st.Slot == nil || !st.Slot.Active) {
		r.add(Error, "max-wal-senders",
			fmt.Sprintf("ALTER SYSTEM SET max_wal_senders = %d; then restart the server", st.WALSenders+4),
			"all %d WAL senders are in use", limit)
	}
	if st.Settings["max_slot_wal_keep_size"] < 0 {
		r.add(Warning, "unlimited-slot", "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf()",
			"max_slot_wal_keep_size is -1: while tidemark is down its slot keeps log until the disk is full")
	}
	if st.Settings["wal_sender_timeout"] == 0 {
		r.add(Warning, "wal-sender-timeout", "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf()",
			"wal_sender_timeout is 0: after a lost connection the slot stays taken")
	}
	if ms := st.Settings["idle_replication_slot_timeout"]; ms > 0 {
		r.add(Warning, "idle-slot-timeout", "ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()",
			"idle_replication_slot_timeout is %d minutes: the slot is lost when tidemark is down for longer", ms/60_000)
	}
	if st.SyncCommit == "off" {
		r.add(Info, "asynchronous-commit", "",
			"synchronous_commit is off: a crash of the server loses commits that answers may already hold")
	}
}

// rights reports what the login lacks apart from what the steps need.
func (r *Report) rights(st *state) {
	if st.Pooled {
		r.add(Warning, "pooler", "", "a connection pooler stands in between: give tidemark the server's own address")
	}
	if st.WALSender != nil {
		typed := ""
		switch {
		case st.WALSenderCode == "42501" && !st.Replication:
			typed = fmt.Sprintf("ALTER ROLE %s REPLICATION", st.UserSQL)
		case st.WALSenderCode == "53300":
			typed = "ALTER SYSTEM SET max_wal_senders = 20; then restart the server"
		case st.WALSenderCode == "28000":
			typed = fmt.Sprintf("add a line for database %s and role %s to pg_hba.conf", st.Database, st.User)
		case st.Pooled:
			typed = "give tidemark the server's own address, not the pooler's"
		}
		r.add(Error, "replication-connection", typed, "a replication connection is refused: %s",
			strings.TrimSpace(st.WALSender.Error()))
	}
	if st.OtherServer {
		r.add(Error, "other-server", "", "the replication connection reaches another server than the ordinary one: give tidemark one server's own address")
	}
	if !st.CanTemp {
		r.add(Error, "temp", fmt.Sprintf("GRANT TEMP ON DATABASE %s TO %s", st.DatabaseSQL, st.UserSQL),
			"%s may not create temporary objects, by which Postgres is asked what an endpoint reads", st.UserSQL)
	}
	for _, t := range st.Tables {
		if t.Asked && !t.CanSelect {
			r.add(Warning, "select", fmt.Sprintf("GRANT SELECT ON %s TO %s", t.SQL, st.UserSQL),
				"%s may not read %s; endpoints can only reach it through a view", st.UserSQL, t.SQL)
		}
	}
	if !st.Monitor {
		r.add(Info, "monitor", fmt.Sprintf("GRANT pg_monitor TO %s", st.UserSQL),
			"%s cannot see other roles' transactions, so long ones among them are not reported", st.UserSQL)
	}
}

// slot reports the state of the replication slot.
func (r *Report) slot(st *state, in Input) {
	s := st.Slot
	if s == nil {
		r.add(Info, "no-slot", "", "slot %s does not exist yet; the first start of tidemark serve makes it", in.Slot)
		return
	}
	drop := fmt.Sprintf("SELECT pg_drop_replication_slot('%s')", in.Slot)
	switch {
	case !s.Logical || s.Plugin != "pgoutput":
		r.add(Error, "foreign-slot", "", "slot %s belongs to something else (it is not a pgoutput slot); configure another name", in.Slot)
		return
	case s.Database != st.Database:
		r.add(Error, "foreign-slot", "", "slot %s belongs to database %s; slot names are shared by the whole server, configure another", in.Slot, s.Database)
		return
	case s.WALStatus == "lost":
		why := ""
		if s.Invalidation != "" {
			why = " (" + s.Invalidation + ")"
		}
		r.add(Error, "slot-lost", drop, "slot %s is lost%s: the log after its position was removed; drop it and tidemark serve begins anew", in.Slot, why)
		return
	case s.WALStatus == "unreserved":
		r.add(Warning, "slot-unreserved", "", "slot %s is about to be lost: it keeps more log than max_slot_wal_keep_size allows", in.Slot)
	case s.SafeSize >= 0 && s.SafeSize < st.Settings["max_slot_wal_keep_size"]/5:
		r.add(Warning, "slot-nearly-full", "", "slot %s is lost after another %s of log", in.Slot, formatBytes(s.SafeSize))
	}
	switch {
	case !s.Active && s.Retained >= gibibyte:
		r.add(Warning, "slot-inactive", drop, "nobody reads slot %s, and it keeps %s of log: start tidemark serve, or drop it",
			in.Slot, formatBytes(s.Retained))
	case !s.Active:
		r.add(Info, "slot-inactive", "", "nobody reads slot %s; it keeps %s of log", in.Slot, formatBytes(s.Retained))
	case s.Retained >= gibibyte:
		r.add(Warning, "slot-behind", "", "slot %s keeps %s of log: its reader is behind, or a transaction is open for long",
			in.Slot, formatBytes(s.Retained))
	}
}

// transactions reports open transactions that a new slot would wait for and
// that keep log and dead rows.
func (r *Report) transactions(st *state, in Input) {
	effect := "log and dead rows are kept for it"
	if st.Slot == nil {
		effect = "making the slot waits for its end"
	}
	for _, t := range st.LongTransactions {
		r.add(Warning, "long-transaction", fmt.Sprintf("SELECT pg_terminate_backend(%d)", t.PID),
			"a transaction of %s (process %d, %s) has been open for %s: %s", t.User, t.PID, t.State, t.Age, effect)
	}
	for _, t := range st.Prepared {
		gid := strings.ReplaceAll(t.GID, "'", "''")
		r.add(Warning, "prepared-transaction", fmt.Sprintf("COMMIT PREPARED '%s' or ROLLBACK PREPARED '%[1]s'", gid),
			"the prepared transaction %q of %s has been open for %s: %s", t.GID, t.User, t.Age, effect)
	}
}

func formatBytes(n int64) string {
	switch {
	case n >= gibibyte:
		return fmt.Sprintf("%.1f GiB", float64(n)/gibibyte)
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", (n+1023)/1024)
}
