package live

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

func TestControl(t *testing.T) {
	snapshot := &revision.Snapshot{Xmin: 10, Xmax: 1 << 40, Xip: []revision.XID{10, 1<<40 - 1}}
	for _, c := range []struct{ name, got, want string }{
		{"up to date", string(AppendUpToDate(nil, 900, "t-1", false)), `{"headers":{"control":"up-to-date","global_last_seen_lsn":"900","token":"t-1"}}`},
		{"without a token", string(AppendUpToDate([]byte("{}"), 900, "", false)), "{},\n" + `{"headers":{"control":"up-to-date","global_last_seen_lsn":"900"}}`},
		{"in a stream", string(AppendUpToDate(nil, 900, "t-1", true)), `{"headers":{"control":"up-to-date","global_last_seen_lsn":"0900","token":"t-1"}}`},
		{
			"snapshot end", string(AppendSnapshotEnd([]byte("{}"), snapshot)),
			"{},\n" + `{"headers":{"control":"snapshot-end","xmin":"10","xmax":"1099511627776","xip_list":["10","1099511627775"]}}`,
		},
		{
			"nothing in progress", string(AppendSnapshotEnd(nil, &revision.Snapshot{Xmin: 10, Xmax: 10})),
			`{"headers":{"control":"snapshot-end","xmin":"10","xmax":"10","xip_list":[]}}`,
		},
		{
			"subset", string(AppendSubset(nil, snapshot, 7, 900, []byte("{}"))),
			`{"metadata":{"xmin":"10","xmax":"1099511627776","xip_list":["10","1099511627775"],"snapshot_mark":7,"database_lsn":"901"},"data":[{}]}`,
		},
		{"empty body", string(AppendBody(nil, nil)), "[]"},
		{"no events", string(AppendEvents(nil, nil)), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s", c.name, c.got)
		}
		if rest := strings.TrimPrefix(c.got, "{},\n"); c.got != "" && !json.Valid([]byte(rest)) {
			t.Errorf("%s is not JSON: %s", c.name, c.got)
		}
	}
	if !json.Valid([]byte(MustRefetch)) {
		t.Error("must-refetch is not JSON")
	}
}

// A poll's body and a stream of events say the same.
func TestBodyAndEvents(t *testing.T) {
	e := encoder(t, false, items...)
	var messages []byte
	for n, s := range texts {
		var err error
		if messages, err = e.AppendInsert(messages, Head{At: Offset{LSN: 8, Index: uint64(n)}}, nil, row(s, ",\n", "data: x\n\n")); err != nil {
			t.Fatal(err)
		}
		var polled []json.RawMessage
		if err := json.Unmarshal(AppendBody(nil, messages), &polled); err != nil || len(polled) != n+1 {
			t.Fatalf("%d messages: %v", len(polled), err)
		}
		events := strings.Split(string(AppendEvents([]byte("data: {}\n\n"), messages)), "\n\n")[1:]
		if len(events) != n+2 || events[n+1] != "" {
			t.Fatalf("%d events of %d messages", len(events), n+1)
		}
		for i, m := range polled {
			data, ok := strings.CutPrefix(events[i], "data: ")
			if !ok || strings.ContainsAny(data, "\r\n") || !bytes.Equal([]byte(data), m) {
				t.Fatalf("event %q of %s", events[i], m)
			}
		}
	}
}
