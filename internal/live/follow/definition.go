package follow

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/tidemarkdb/tidemark/internal/change"
	"github.com/tidemarkdb/tidemark/internal/live"
)

// relationSchema stands where messages name the schema of a table.
const relationSchema = "endpoint"

// Endpoint is what followers need to know of one endpoint.
type Endpoint struct {
	Name    string
	Columns []live.Column // with their types in the database; Key is not looked at
	Key     []int         // the columns that tell rows apart
	Account int           // the column that says whose a row is, or -1
	// Volatile says that rows are not all that can change its answers.
	Volatile bool
}

// Definition is an endpoint as its followers see it. It is immutable and shared
// by all its answers.
type Definition struct {
	Endpoint

	names   []string
	types   []*live.Type // of the values in answers
	key     []int        // the account's column included
	encoder *live.Encoder
	schema  string
	print   string // equal in definitions whose followers need not begin again
}

// NewDefinition returns the definition of an endpoint.
func NewDefinition(e Endpoint) (*Definition, error) {
	d := &Definition{Endpoint: e, key: slices.Clone(e.Key)}
	// Whose a row is counts to its key: one that passes from an account to another
	// leaves the one and enters the other.
	if e.Account >= 0 && !slices.Contains(d.key, e.Account) {
		d.key = append(d.key, e.Account)
	}
	columns := slices.Clone(e.Columns)
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %d %v", e.Name, e.Account, d.key)
	for i := range columns {
		c := &columns[i]
		c.Key = slices.Index(d.key, i) + 1
		d.names = append(d.names, c.Name)
		d.types = append(d.types, c.Type)
		fmt.Fprintf(sum, " %q", c.Name)
		if c.Type != nil {
			fmt.Fprintf(sum, " %d %d", c.Type.OID, c.Type.Mod)
			c.Type = c.Type.InAnswer()
		}
	}
	var err error
	if d.encoder, err = live.NewEncoder(relationSchema, e.Name, columns, false); err != nil {
		return nil, err
	}
	d.schema = live.Schema(columns)
	d.print = hex.EncodeToString(sum.Sum(nil)[:16])
	return d, nil
}

// text turns the values of a row into those of messages. What it returns is valid
// until the next call with the same buffers.
func (d *Definition) text(cells [][]byte, row change.Row, buf []byte) (change.Row, []byte, error) {
	row, buf = row[:0], buf[:0]
	for i, c := range cells {
		start := len(buf)
		var null bool
		var err error
		if buf, null, err = d.types[i].AppendAnswer(buf, c); err != nil {
			return nil, buf, fmt.Errorf("column %s: %w", d.names[i], err)
		}
		v := change.Value{Kind: change.Null}
		if !null {
			v = change.Value{Kind: change.Text, Text: buf[start:len(buf):len(buf)]}
		}
		row = append(row, v)
	}
	return row, buf, nil
}

// A topic is what one account follows of an answer, under the name that topicOf
// gives it; "" is the whole answer, and the topic of rows that are nobody's.
func topicOf(account string) string { return "=" + account }

// topic returns the topic of a row in the form of messages.
func (d *Definition) topic(row change.Row) string {
	if d.Account < 0 || row[d.Account].Kind != change.Text {
		return ""
	}
	return topicOf(string(row[d.Account].Text))
}
