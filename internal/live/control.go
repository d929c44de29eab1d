package live

import (
	"bytes"
	"strconv"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// MustRefetch is the body of a poll that tells a client to begin again.
const MustRefetch = `[{"headers":{"control":"must-refetch"}}]`

// AppendUpToDate appends to messages that the client has everything as of a
// position, which a token names. In an event stream, where the client makes its
// next offset of the position, that is the offset of Whole.
func AppendUpToDate(messages []byte, at revision.LSN, token string, stream bool) []byte {
	b := append(separate(messages), `{"headers":{"control":"up-to-date","global_last_seen_lsn":"`...)
	if stream {
		b = appendStreamed(b, at)
	} else {
		b = strconv.AppendUint(b, uint64(at), 10)
	}
	b = append(b, '"')
	if token != "" {
		b = appendQuoted(append(b, `,"token":`...), token)
	}
	return append(b, "}}"...)
}

// AppendSnapshotEnd appends to messages that the rows of a snapshot end here.
func AppendSnapshotEnd(messages []byte, s *revision.Snapshot) []byte {
	b := append(separate(messages), `{"headers":{"control":"snapshot-end",`...)
	return append(appendSnapshot(b, s), "}}"...)
}

// appendSnapshot appends the members that say what a snapshot saw.
func appendSnapshot(b []byte, s *revision.Snapshot) []byte {
	b = strconv.AppendUint(append(b, `"xmin":"`...), uint64(s.Xmin), 10)
	b = strconv.AppendUint(append(b, `","xmax":"`...), uint64(s.Xmax), 10)
	b = append(b, `","xip_list":[`...)
	for i, x := range s.Xip {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendUint(append(b, '"'), uint64(x), 10), '"')
	}
	return append(b, ']')
}

// AppendSubset appends the answer of a subset: rows are messages of AppendMarked
// with that mark, seen by the snapshot, and no transaction that it saw ends after
// at. A client forgets the snapshot at a change whose position is database_lsn or
// later, and one that ends at at may still be inside: hence the next position.
func AppendSubset(b []byte, s *revision.Snapshot, mark uint32, at revision.LSN, rows []byte) []byte {
	b = appendSnapshot(append(b, `{"metadata":{`...), s)
	b = strconv.AppendUint(append(b, `,"snapshot_mark":`...), uint64(mark), 10)
	b = strconv.AppendUint(append(b, `,"database_lsn":"`...), uint64(at)+1, 10)
	return append(append(append(b, `"},"data":[`...), rows...), "]}"...)
}

// AppendBody appends the body of a poll: an array of messages.
func AppendBody(b, messages []byte) []byte {
	return append(append(append(b, '['), messages...), ']')
}

// AppendEvents appends messages as server-sent events, one for each.
func AppendEvents(b, messages []byte) []byte {
	for len(messages) > 0 {
		var m []byte
		m, messages, _ = bytes.Cut(messages, []byte{'\n'})
		if len(messages) > 0 {
			m = m[:len(m)-1] // the comma between two
		}
		b = append(append(append(b, "data: "...), m...), "\n\n"...)
	}
	return b
}
