package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tidemarkdb/tidemark/internal/setup"
)

type initCmd struct {
	configFlags
	Yes    bool          `short:"y" help:"Do not ask."`
	DryRun bool          `help:"Print the changes as SQL and make none."`
	Wait   time.Duration `default:"1m" help:"How long to wait for locks and for older transactions."`
}

func (c *initCmd) Run(a *app) error {
	cfg, err := c.load(a)
	if err != nil {
		return err
	}
	conn, err := connect(a.ctx, cfg)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	endpoints, problems, err := analyse(a.ctx, conn, cfg, false)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		a.printProblems(problems)
		return errSilent
	}
	in, err := requirements(a.ctx, conn, cfg, endpoints)
	if err != nil {
		return err
	}
	report, err := setup.Inspect(a.ctx, conn, in)
	if err != nil {
		return err
	}
	if c.DryRun {
		printScript(a.stdout, report)
		return nil
	}
	fmt.Fprintf(a.stdout, "%s, database %s, role %s, %s\n", report.Server, report.Database, report.User,
		number(len(endpoints), "endpoint"))
	if len(endpoints) == 0 && !in.Permissions && in.Followed == nil {
		fmt.Fprintf(a.stdout, "There are no endpoint files in %s yet: no table is published.\n", cfg.Endpoints)
	}
	var outcome []setup.Finding
	if len(report.Steps) > 0 {
		printPlan(a.stdout, report)
		if ok, err := c.agreed(a, len(report.Steps)); !ok {
			return err
		}
		outcome, err = setup.Apply(a.ctx, conn, report, setup.Patience{Lock: c.Wait, Older: c.Wait}, a.progress)
		if err != nil && !errors.Is(err, setup.ErrIncomplete) {
			return err
		}
		if report, err = setup.Inspect(a.ctx, conn, in); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.stdout, "Nothing is missing.")
	}
	report.Findings = append(outcome, report.Findings...)
	fmt.Fprintln(a.stdout)
	printFindings(a.stdout, report.Diagnosis())
	if !report.Ready() {
		return errSilent
	}
	fmt.Fprintln(a.stdout, "\nThe database is ready. Start with: tidemark serve")
	return nil
}

// agreed asks, unless told not to.
func (c *initCmd) agreed(a *app, steps int) (bool, error) {
	if c.Yes {
		return true, nil
	}
	fmt.Fprintf(a.stdout, "\nMake %s? [y/N] ", number(steps, "change"))
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	answer := strings.ToLower(strings.TrimSpace(line))
	if err != nil && answer == "" {
		fmt.Fprintln(a.stdout)
		return false, hinted{errors.New("nobody answered, and nothing was changed"), "tidemark init --yes does not ask"}
	}
	if answer != "y" && answer != "yes" {
		fmt.Fprintln(a.stdout, "Nothing was changed.")
		return false, nil
	}
	return true, nil
}

func printPlan(w io.Writer, r *setup.Report) {
	for i, s := range r.Steps {
		fmt.Fprintf(w, "\n%d. %s\n   %s\n   needs %s\n", i+1, s.ID, s.Why, s.Needs)
		if s.Denied != "" {
			fmt.Fprintf(w, "   likely to be refused: %s\n", s.Denied)
			if s.Lost != "" {
				fmt.Fprintf(w, "   then: %s\n", s.Lost)
			}
		}
		sql := strings.TrimSpace(s.SQL)
		if lines := strings.Count(sql, "\n"); lines > 5 {
			first, _, _ := strings.Cut(sql, "\n")
			sql = fmt.Sprintf("%s\n… %d more lines; --dry-run prints them", first, lines)
		}
		fmt.Fprintf(w, "     %s\n", indent(sql, "     "))
	}
}

// printScript writes the plan so that psql can run it.
func printScript(w io.Writer, r *setup.Report) {
	if len(r.Steps) == 0 {
		fmt.Fprintln(w, "-- nothing is missing")
		return
	}
	fmt.Fprint(w, "-- For psql. It stops at the first error, because a table must not be published\n"+
		"-- before it has its replica identity.\n\\set ON_ERROR_STOP on\n\n")
	for _, s := range r.Steps {
		fmt.Fprintf(w, "-- %s: %s\n-- needs %s\n%s;\n\n", s.ID, s.Why, s.Needs, strings.TrimRight(strings.TrimSpace(s.SQL), ";"))
	}
}

func (a *app) progress(s setup.Step, status setup.Status, detail string) {
	if detail != "" {
		detail = ": " + detail
	}
	fmt.Fprintf(a.stdout, "%-8s %s%s\n", status, s.ID, detail)
	if status != setup.Done && status != setup.Waiting && s.Lost != "" {
		fmt.Fprintf(a.stdout, "         %s\n", s.Lost)
	}
}
