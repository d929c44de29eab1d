package feed

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestPlan(t *testing.T) {
	here := revision.Source{SystemID: 1, Timeline: 1}
	str := func(s string) *string { return &s }
	pid := 42
	for _, c := range []struct {
		name   string
		memory func(*memory)
		view   func(*serverView)
		slot   func(*slotRow)
		noSlot bool
		keep   bool // Options without CreateSlot

		err          error
		drop, create bool
		gap          string // a part of it; "" means none
	}{
		{name: "as it was"},
		{name: "first", memory: func(m *memory) { *m = memory{} }},
		{name: "first without slot", memory: func(m *memory) { *m = memory{} }, noSlot: true, create: true},
		{name: "first with a lost slot", memory: func(m *memory) { *m = memory{} }, slot: func(s *slotRow) { s.WALStatus = str("lost") }, drop: true, create: true},
		{name: "slot gone", noSlot: true, create: true, gap: "missing"},
		{name: "slot gone, not ours to make", noSlot: true, keep: true, err: ErrSlotMissing},
		{name: "lost", slot: func(s *slotRow) { s.WALStatus = str("lost") }, drop: true, create: true, gap: "max_slot_wal_keep_size"},
		{name: "lost, not ours to make", slot: func(s *slotRow) { s.WALStatus = str("lost") }, keep: true, err: ErrSlotLost},
		{name: "invalidated", slot: func(s *slotRow) { s.Invalidation = str("idle_timeout") }, drop: true, create: true, gap: "idle_timeout"},
		{name: "no log held", slot: func(s *slotRow) { s.Restart = nil }, drop: true, create: true, gap: "lost"},
		{name: "extended is not lost", slot: func(s *slotRow) { s.WALStatus = str("extended") }},
		{name: "in use", slot: func(s *slotRow) { s.ActivePID = &pid }, err: ErrSlotActive},
		{name: "lost but in use", slot: func(s *slotRow) { s.ActivePID, s.WALStatus = &pid, str("lost") }, err: ErrSlotActive},
		{name: "moved", slot: func(s *slotRow) { s.confirmed = 101 }, gap: "moved to 0/65"},
		{name: "acknowledged up to the frontier", slot: func(s *slotRow) { s.confirmed = 100 }},
		{name: "other system", view: func(v *serverView) { v.source.SystemID = 2 }, gap: "system identifier"},
		{name: "other system, other publication", view: func(v *serverView) { v.source.SystemID, v.publication = 2, 9 }, gap: "system identifier"},
		{name: "other timeline", view: func(v *serverView) { v.source.Timeline = 2 }, gap: "timeline: 2 after 1"},
		{name: "went back", view: func(v *serverView) { v.flushed = 99 }, gap: "went back"},
		{name: "standby behind", view: func(v *serverView) { v.flushed, v.standby, v.version = 99, true, 160000 }, err: ErrBehind},
		{name: "old standby", view: func(v *serverView) { v.standby = true }, err: ErrServerVersion},
		{name: "no logical log", view: func(v *serverView) { v.walLevel = "replica" }, err: ErrWALLevel},
		{name: "no publication", view: func(v *serverView) { v.publication = 0 }, err: ErrPublicationMissing},
		{name: "no publication, no slot", view: func(v *serverView) { v.publication = 0 }, noSlot: true, err: ErrPublicationMissing},
		{name: "new publication", view: func(v *serverView) { v.publication = 8 }, drop: true, create: true, gap: `publication "p"`},
		{name: "cannot decode", memory: func(m *memory) { m.stale = true }, drop: true, create: true, gap: `publication "p"`},
		{name: "gap found before", memory: func(m *memory) { m.gap = "earlier" }, gap: "earlier"},
		{name: "gap found before, slot dropped since", memory: func(m *memory) { m.gap = "earlier" }, noSlot: true, create: true, gap: "earlier"},
		{name: "physical", slot: func(s *slotRow) { s.Type = "physical" }, err: ErrSlotMismatch},
		{name: "other plugin", slot: func(s *slotRow) { s.Plugin = "wal2json" }, err: ErrSlotMismatch},
		{name: "other database", slot: func(s *slotRow) { s.Database = "x" }, err: ErrSlotMismatch},
		{name: "other plugin, lost", slot: func(s *slotRow) { s.Plugin, s.WALStatus = "wal2json", str("lost") }, err: ErrSlotMismatch},
		{name: "two-phase", slot: func(s *slotRow) { s.TwoPhase = true }, err: ErrSlotMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := memory{connected: true, source: here, publication: 7, covered: 100, epoch: 1}
			v := serverView{
				version: 150000, walLevel: "logical", source: here, flushed: 200, database: "d", publication: 7,
				slot: &slotRow{Plugin: "pgoutput", Type: "logical", Database: "d", Restart: str("0/1"), WALStatus: str("reserved"), confirmed: 90},
			}
			if c.memory != nil {
				c.memory(&m)
			}
			if c.view != nil {
				c.view(&v)
			}
			if c.slot != nil {
				c.slot(v.slot)
			}
			if c.noSlot {
				v.slot = nil
			}
			got, err := plan(&Options{Slot: "s", Publication: "p", CreateSlot: !c.keep}, &m, &v)
			if !errors.Is(err, c.err) || err != nil && c.err == nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if got.drop != c.drop || got.create != c.create || !strings.Contains(got.gap, c.gap) || (got.gap == "") != (c.gap == "") {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestParseSlot(t *testing.T) {
	s, err := parseSlot(`{"slot_name": "s", "plugin": "pgoutput", "slot_type": "logical", "database": "d", "temporary": false,
		"active_pid": null, "restart_lsn": "0/1522690", "confirmed_flush_lsn": "1/15226C8", "wal_status": "reserved", "two_phase": false}`)
	if err != nil || s.confirmed != 0x1_015226C8 || s.lost() != "" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := parseSlot(""); s != nil || err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"{", `{"confirmed_flush_lsn": "x"}`} {
		if _, err := parseSlot(bad); err == nil {
			t.Errorf("%s accepted", bad)
		}
	}
}
