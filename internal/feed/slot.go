package feed

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/internal/replication"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// slotRow is a row of pg_replication_slots. What a server version does not
// have stays zero.
type slotRow struct {
	Plugin       string  `json:"plugin"`
	Type         string  `json:"slot_type"`
	Database     string  `json:"database"`
	Temporary    bool    `json:"temporary"`
	TwoPhase     bool    `json:"two_phase"`
	ActivePID    *int    `json:"active_pid"`
	Restart      *string `json:"restart_lsn"`
	Confirmed    *string `json:"confirmed_flush_lsn"`
	WALStatus    *string `json:"wal_status"`
	Invalidation *string `json:"invalidation_reason"`

	confirmed revision.LSN
}

func parseSlot(text string) (*slotRow, error) {
	if text == "" {
		return nil, nil
	}
	var s slotRow
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return nil, fmt.Errorf("row of the slot: %w", err)
	}
	if s.Confirmed != nil {
		var err error
		if s.confirmed, err = revision.ParseLSN(*s.Confirmed); err != nil {
			return nil, fmt.Errorf("row of the slot: %w", err)
		}
	}
	return &s, nil
}

// lost says why the slot can deliver no more, or nothing.
func (s *slotRow) lost() string {
	switch {
	case s.Invalidation != nil && *s.Invalidation != "":
		return "invalidated by the server: " + *s.Invalidation
	case s.WALStatus != nil && *s.WALStatus == "lost":
		return "the server removed log that it had not delivered (max_slot_wal_keep_size)"
	case s.Restart == nil && s.ActivePID == nil:
		return "it holds no log"
	}
	return ""
}

// serverView is what one session found on the server.
type serverView struct {
	version     int
	walLevel    string
	standby     bool
	source      revision.Source
	flushed     revision.LSN
	database    string
	publication uint32   // OID, 0 if there is none
	viaRoot     bool     // it publishes partitions as their root
	slot        *slotRow // nil if there is none
}

// slotPlan is what a session does before it streams.
type slotPlan struct {
	drop, create bool
	// gap says why what comes does not join up with what came before; empty if
	// it does.
	gap string
	// why explains drop and create.
	why string
}

// plan decides from what the process remembers and what the server shows. It
// has no effects.
func plan(o *Options, m *memory, v *serverView) (slotPlan, error) {
	if err := checkServer(v); err != nil {
		return slotPlan{}, err
	}
	p := slotPlan{gap: m.gap}
	note := func(reason string) {
		if p.gap == "" {
			p.gap = reason
		}
	}
	if m.connected {
		switch {
		case v.source.SystemID != m.source.SystemID:
			note(fmt.Sprintf("another database cluster: its system identifier is %d, not %d", v.source.SystemID, m.source.SystemID))
		case v.source.Timeline != m.source.Timeline:
			note(fmt.Sprintf("another timeline: %d after %d", v.source.Timeline, m.source.Timeline))
		case v.flushed < m.covered && v.standby:
			return slotPlan{}, &Error{Op: "check", Err: fmt.Errorf("%w: the standby has the log up to %v only, and %v had been applied", ErrBehind, v.flushed, m.covered)}
		case v.flushed < m.covered:
			note(fmt.Sprintf("the log went back: it ends at %v, and %v had been applied", v.flushed, m.covered))
		}
	}
	replace := func(why string) { p.drop, p.create, p.why = true, true, why }
	s := v.slot
	if s == nil {
		p.create, p.why = true, "it does not exist"
	} else {
		if err := checkSlot(o, v); err != nil {
			return slotPlan{}, err
		}
		stale := v.source.SystemID == m.source.SystemID &&
			(m.stale || m.publication != 0 && m.publication != v.publication)
		switch {
		case s.ActivePID != nil:
			return slotPlan{}, &Error{Op: "check", Err: fmt.Errorf("%w: process %d of the server holds %q", ErrSlotActive, *s.ActivePID, o.Slot)}
		case s.lost() != "":
			replace(s.lost())
		case stale && v.publication != 0:
			replace(fmt.Sprintf("publication %q was created after it, so the log before cannot be decoded", o.Publication))
		}
	}
	if m.connected && p.gap == "" {
		switch {
		case p.drop:
			note("the slot was lost: " + p.why)
		case p.create:
			note("the slot was missing")
		case s.confirmed > m.covered:
			note(fmt.Sprintf("the slot was moved to %v, and only %v had been applied: it was re-created or used by somebody else", s.confirmed, m.covered))
		}
	}
	if v.publication == 0 {
		return slotPlan{}, &Error{
			Op: "check", Err: fmt.Errorf("%w: %q", ErrPublicationMissing, o.Publication),
			Hint: fmt.Sprintf("create it in database %q, for example: CREATE PUBLICATION %s FOR ALL TABLES", v.database, quoteIdent(o.Publication)),
		}
	}
	if p.create && !o.CreateSlot {
		if p.drop {
			return slotPlan{}, &Error{
				Op: "check", Err: fmt.Errorf("%w: %q: %s", ErrSlotLost, o.Slot, p.why),
				Hint: "drop it with SELECT pg_drop_replication_slot(" + replication.QuoteLiteral(o.Slot) + ") and create it anew",
			}
		}
		return slotPlan{}, &Error{
			Op: "check", Err: fmt.Errorf("%w: %q", ErrSlotMissing, o.Slot),
			Hint: "create it with SELECT pg_create_logical_replication_slot(" + replication.QuoteLiteral(o.Slot) + ", 'pgoutput')",
		}
	}
	return p, nil
}

func checkServer(v *serverView) error {
	switch {
	case v.walLevel != "logical":
		return &Error{
			Op: "check", Err: fmt.Errorf("%w: wal_level is %q", ErrWALLevel, v.walLevel),
			Hint: "run ALTER SYSTEM SET wal_level = 'logical' and restart the server",
		}
	case v.standby && v.version < 160000:
		return &Error{
			Op: "check", Err: fmt.Errorf("%w: a standby can be followed from Postgres 16 on", ErrServerVersion),
			Hint: "connect to the primary",
		}
	}
	return nil
}

// checkSlot refuses a slot that is somebody else's: it is never dropped.
func checkSlot(o *Options, v *serverView) error {
	var wrong []string
	s := v.slot
	switch {
	case s.Type != "logical":
		wrong = append(wrong, "it is a "+s.Type+" slot, not a logical one")
	default:
		if s.Plugin != "pgoutput" {
			wrong = append(wrong, fmt.Sprintf("its plugin is %q, not pgoutput", s.Plugin))
		}
		if s.Database != v.database {
			wrong = append(wrong, fmt.Sprintf("it belongs to database %q, not %q", s.Database, v.database))
		}
	}
	if s.Temporary {
		wrong = append(wrong, "it is temporary")
	}
	if s.TwoPhase {
		wrong = append(wrong, "it was created with two_phase")
	}
	if wrong == nil {
		return nil
	}
	return &Error{
		Op: "check", Err: fmt.Errorf("%w: %q: %s", ErrSlotMismatch, o.Slot, strings.Join(wrong, ", ")),
		Hint: "configure another slot name, or drop that slot if nobody needs it",
	}
}
