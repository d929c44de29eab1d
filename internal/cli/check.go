package cli

import "fmt"

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
	if len(endpoints) == 0 {
		return hinted{
			fmt.Errorf("there are no endpoint files in %s", cfg.Endpoints),
			"write one, such as examples/shop/endpoints/account.sql, or name another folder with endpoints:",
		}
	}
	fmt.Fprintf(a.stdout, "in order: the configuration and %s\n", number(len(endpoints), "endpoint"))
	return nil
}
