package follow

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
	"github.com/tidemarkdb/tidemark/internal/revision"
)

// TestForm has the bytes of a file: it is read by others than wrote it.
func TestForm(t *testing.T) {
	h := header{
		source: revision.Source{SystemID: 7300000000000000001, Timeline: 3}, incarnation: "i", print: "p", key: "/x?a=b",
		begin: live.Offset{LSN: 0x16B374D848, Index: live.Whole}, next: 5,
	}
	row, was := [][]byte{[]byte("1"), []byte(`"new"`)}, [][]byte{[]byte("1"), []byte("null")}
	rows := table{columns: 2, cells: row, twins: []uint64{200}}
	s := snapshotRecord{number: 5, after: h.begin, chunk: 300, rows: rows.pack()}
	steps := []step{{change.Delete, 0, was, nil}, {change.Update, 200, was, row}, {change.Insert, 1, nil, row}}
	e := &entry{lsn: 0x16B374D900, first: 2, count: 6}
	for _, tt := range []struct {
		name string
		got  []byte
		want string
	}{
		{"header", h.append(nil), "26000000a0a7ff9a48018180e8e2aaeab3a7650301690170062f783f613d62c8b0d39beb02ffffffffffffff0f05"},
		{"snapshot", s.append(nil), "1c0000003f52e7de5305c8b0d39beb02ffffffffffffff0fac02c801013105226e657722"},
		{"difference", appendDifference(nil, e, steps, 700, h.begin), "400000004db2d18a4480b2d39beb02bc05c8b0d39beb02ffffffffffffff0f020644000131046e756c6c55c8010131046e756c6cc801013105226e6577224901013105226e657722"},
	} {
		if got := hex.EncodeToString(tt.got); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		payload, _, err := nextRecord(tt.got)
		if err != nil {
			t.Fatal(err)
		}
		var read, wrote any
		switch payload[0] {
		case kindHeader:
			wrote = h
			read, err = readHeader(payload)
		case kindSnapshot:
			wrote = s
			read, err = readSnapshot(payload)
		default:
			wrote = steps
			var d differenceRecord
			if d, err = readDifference(payload); err == nil {
				read, err = d.read(2)
			}
			if d.lsn != e.lsn || d.xid != 700 || d.prev != h.begin || d.first != e.first || d.count != e.count {
				t.Errorf("read as %+v", d)
			}
		}
		if diff := cmp.Diff(wrote, read, cmp.AllowUnexported(header{}, snapshotRecord{}, step{})); diff != "" || err != nil {
			t.Errorf("%s, %v: %s", tt.name, err, diff)
		}
	}
	unpacked, err := (&Definition{names: []string{"a", "b"}}).unpack(s.rows)
	if diff := cmp.Diff(&rows, unpacked, cmp.AllowUnexported(table{})); diff != "" || err != nil {
		t.Errorf("rows, %v: %s", err, diff)
	}
}
