package cli

import (
	"fmt"

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
	permissions := cfg.Listen.GRPC != ""
	what := "the configuration and " + number(len(endpoints), "endpoint")
	if permissions && cfg.Permissions.Mapping != "" {
		m, err := mapping.Load(cfg.Permissions.Mapping)
		if err != nil {
			return err
		}
		m.Publication = cfg.Publication
		if _, err := m.Bind(a.ctx, conn); err != nil {
			return err
		}
		what = fmt.Sprintf("the configuration, %s and %s of the mapping", number(len(endpoints), "endpoint"), number(len(m.Rules), "rule"))
	}
	if len(endpoints) == 0 && !permissions {
		return hinted{
			fmt.Errorf("there are no endpoint files in %s", cfg.Endpoints),
			"write one, such as examples/shop/endpoints/account.sql, or name another folder with endpoints:",
		}
	}
	fmt.Fprintf(a.stdout, "in order: %s\n", what)
	return nil
}
