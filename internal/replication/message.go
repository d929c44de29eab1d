package replication

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

// postgresEpoch is the start of 2000 in Unix microseconds.
const postgresEpoch = 946684800 * 1_000_000

// Message is one message of the stream: a piece of the log, or a keepalive.
type Message struct {
	Keepalive bool
	// Start and End are the header of a piece of the log. For logical decoding
	// they are positions of single changes and no order.
	Start revision.LSN
	// End is, for a keepalive, how far the server has decoded: every
	// transaction that ends at or before it has been sent.
	End            revision.LSN
	Time           time.Time // the server's clock when it sent the message
	ReplyRequested bool      // a keepalive that wants an answer
	Data           []byte    // the plugin's message; points into the batch
}

const (
	logHeader       = 1 + 8 + 8 + 8
	keepaliveLength = 1 + 8 + 8 + 1
)

// parseMessage reads the body of one CopyData.
func parseMessage(b []byte) (Message, error) {
	if len(b) == 0 {
		return Message{}, fmt.Errorf("replication: empty message")
	}
	switch b[0] {
	case 'w':
		if len(b) < logHeader {
			return Message{}, fmt.Errorf("replication: log data of %d bytes is shorter than its header", len(b))
		}
		return Message{
			Start: revision.LSN(binary.BigEndian.Uint64(b[1:])),
			End:   revision.LSN(binary.BigEndian.Uint64(b[9:])),
			Time:  serverTime(b[17:]),
			Data:  b[logHeader:len(b):len(b)],
		}, nil
	case 'k':
		if len(b) != keepaliveLength {
			return Message{}, fmt.Errorf("replication: keepalive of %d bytes", len(b))
		}
		return Message{
			Keepalive:      true,
			End:            revision.LSN(binary.BigEndian.Uint64(b[1:])),
			Time:           serverTime(b[9:]),
			ReplyRequested: b[17] != 0,
		}, nil
	}
	return Message{}, fmt.Errorf("replication: unknown message %q", b[0])
}

func serverTime(b []byte) time.Time {
	return time.UnixMicro(int64(binary.BigEndian.Uint64(b)) + postgresEpoch)
}
