package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/tidemarkdb/tidemark/internal/revision"
)

type tokenCmd struct {
	Current tokenCurrentCmd `cmd:"" default:"withargs" help:"Print the server's current token."`
	Show    tokenShowCmd    `cmd:"" help:"Say what a token names."`
	Compare tokenCompareCmd `cmd:"" help:"Say which of two tokens is later: before, same, after or unordered."`
}

type tokenCurrentCmd struct{ adminFlags }

func (c *tokenCurrentCmd) Run(a *app) error {
	body, err := c.client(a).get(a.ctx, "/v1/token")
	if err != nil {
		return err
	}
	var reply struct{ Token string }
	if c.JSON || json.Unmarshal(body, &reply) != nil || reply.Token == "" {
		return a.print(body, c.JSON)
	}
	fmt.Fprintln(a.stdout, plain(reply.Token))
	return nil
}

type tokenShowCmd struct {
	Token string `arg:""`
	JSON  bool   `name:"json" help:"Print JSON."`
}

var kinds = map[revision.TokenKind]string{
	revision.KindPosition:    "position",
	revision.KindBound:       "bound",
	revision.KindTransaction: "transaction",
}

var kindMeanings = map[revision.TokenKind]string{
	revision.KindPosition:    "exactly the transactions that end at or before the position",
	revision.KindBound:       "not earlier than what was served",
	revision.KindTransaction: "one transaction, which commits after the position",
}

func (c *tokenShowCmd) Run(a *app) error {
	t, err := parseToken(c.Token)
	if err != nil {
		return err
	}
	if c.JSON {
		shown := struct {
			Kind     string `json:"kind"`
			System   uint64 `json:"system_id,string"`
			Timeline uint32 `json:"timeline"`
			LSN      string `json:"lsn"`
			XID      uint64 `json:"xid,string,omitempty"`
		}{kinds[t.Kind], t.Source.SystemID, t.Source.Timeline, t.LSN.String(), uint64(t.XID)}
		text, err := json.Marshal(shown)
		if err != nil {
			return err
		}
		return a.write(text)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "kind\t%s: %s\n", kinds[t.Kind], kindMeanings[t.Kind])
	fmt.Fprintf(w, "system id\t%d\n", t.Source.SystemID)
	fmt.Fprintf(w, "timeline\t%d\n", t.Source.Timeline)
	fmt.Fprintf(w, "position\t%s\n", t.LSN)
	if t.Kind == revision.KindTransaction {
		fmt.Fprintf(w, "transaction\t%d\n", t.XID)
	}
	return w.Flush()
}

type tokenCompareCmd struct {
	A string `arg:"" help:"A token."`
	B string `arg:"" help:"Another token."`
}

func (c *tokenCompareCmd) Run(a *app) error {
	x, err := parseToken(c.A)
	if err != nil {
		return err
	}
	y, err := parseToken(c.B)
	if err != nil {
		return err
	}
	order, err := revision.Compare(x, y)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, order)
	return nil
}

func parseToken(s string) (revision.Token, error) {
	t, err := revision.ParseToken(strings.TrimSpace(s))
	if err != nil {
		return t, hinted{err, "pass a token exactly as it was received"}
	}
	return t, nil
}
