package cli

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/live/rules"
	"github.com/tidemarkdb/tidemark/internal/perm/mapping"
)

type checkCmd struct{ configFlags }

func (c *checkCmd) Run(a *app) error {
	cfg, err := c.load(a)
	if err != nil {
		return err
	}
	conn, err := connect(a.ctx, cfg)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	endpoints, problems, err := analyse(a.ctx, conn, cfg, true)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		a.printProblems(problems)
		return errSilent
	}
	followed, err := c.followed(a, conn, cfg)
	if err != nil {
		return err
	}
	permissions := cfg.Listen.GRPC != ""
	what := []string{"the configuration", number(len(endpoints), "endpoint")}
	if permissions && cfg.Permissions.Mapping != "" {
		m, err := mapping.Load(cfg.Permissions.Mapping)
		if err != nil {
			return err
		}
		m.Publication = cfg.Publication
		if _, err := m.Bind(a.ctx, conn); err != nil {
			return err
		}
		what = append(what, number(len(m.Rules), "rule")+" of the mapping")
	}
	if followed > 0 {
		what = append(what, number(followed, "table or schema that may be followed", "tables and schemas that may be followed"))
	}
	if len(endpoints) == 0 && !permissions && followed == 0 {
		return hinted{
			fmt.Errorf("there are no endpoint files in %s", cfg.Endpoints),
			"write one, such as examples/shop/endpoints/account.sql, or name another folder with endpoints:",
		}
	}
	last := len(what) - 1
	fmt.Fprintf(a.stdout, "in order: %s and %s\n", strings.Join(what[:last], ", "), what[last])
	return nil
}

// followed checks the tables that may be followed, and returns of how many tables
// and schemas the file speaks.
func (c *checkCmd) followed(a *app, conn *pgx.Conn, cfg *config.Config) (int, error) {
	if cfg.Live.Tables == "" {
		return 0, nil
	}
	f, err := rules.Load(cfg.Live.Tables)
	if err != nil {
		return 0, err
	}
	problems, notes, err := f.Check(a.ctx, conn, cfg.Publication)
	if err != nil {
		return 0, err
	}
	for _, n := range notes {
		fmt.Fprintf(a.stderr, "note: %s\n", n)
	}
	if len(problems) > 0 {
		return 0, problems
	}
	return len(f.Rules), nil
}
