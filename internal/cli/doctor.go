package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tidemarkdb/tidemark/internal/config"
	"github.com/tidemarkdb/tidemark/internal/live/rules"
	"github.com/tidemarkdb/tidemark/internal/setup"
)

type doctorCmd struct {
	configFlags
	JSON bool `name:"json" help:"Print JSON."`
}

func (c *doctorCmd) Run(a *app) error {
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
	in, err := requirements(a.ctx, conn, cfg, endpoints)
	if err != nil {
		return err
	}
	report, err := setup.Inspect(a.ctx, conn, in)
	if err != nil {
		return err
	}
	followed, err := followedProblems(a.ctx, conn, cfg)
	if err != nil {
		return err
	}
	for _, p := range followed {
		report.Findings = append(report.Findings, setup.Finding{Severity: setup.Error, Code: "followed", What: p.String()})
	}
	for _, p := range problems {
		report.Findings = append(report.Findings, setup.Finding{Severity: setup.Error, Code: "endpoint", What: p.String()})
	}
	if c.JSON {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := a.write(text); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.stdout, "%s, database %s, role %s, %s\n\n", report.Server, report.Database, report.User,
			number(len(endpoints), "endpoint"))
		printFindings(a.stdout, report.Diagnosis())
		if len(report.Steps) > 0 {
			fmt.Fprintln(a.stdout, "\ntidemark init makes what is missing.")
		}
	}
	if !report.Ready() {
		return errSilent
	}
	if !c.JSON {
		fmt.Fprintln(a.stdout, "\nready to serve")
	}
	return nil
}

// followedProblems are those of the tables that may be followed, less what init
// sees to.
func followedProblems(ctx context.Context, conn *pgx.Conn, cfg *config.Config) (rules.Problems, error) {
	if cfg.Live.Tables == "" {
		return nil, nil
	}
	f, err := rules.Load(cfg.Live.Tables)
	if err != nil {
		return nil, err
	}
	problems, _, err := f.Check(ctx, conn, "")
	return problems, err
}

// printFindings writes findings with what to type below each.
func printFindings(w io.Writer, findings []setup.Finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "%-8s %s\n", f.Severity, f.What)
		if f.Type != "" && f.Code != "not-set-up" {
			fmt.Fprintf(w, "         type: %s\n", indent(f.Type, "               "))
		}
	}
}

// indent puts the same space in front of every line but the first.
func indent(text, space string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+space)
}
