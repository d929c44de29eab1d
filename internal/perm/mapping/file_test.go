package mapping

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/internal/perm/schema"
	"github.com/tidemarkdb/tidemark/internal/yamldoc"
)

const sample = `# who may see what
relationships:
  - document:{id}#owner@user:{owner_id} from documents where deleted_at is null
  - relation: document:{id}#viewer@group:{group_id}#member
    from: document_shares
    where: kind = 'group'
    caveat: business_hours
    context: { tz: "{timezone}", level: "{level}", name: "{a}-{b}", top: 3, on: true, fixed: "{{x}}" }
    expires: expires_at
  - relation: org/document:{org}/{name}#parent@org:main
    from: app."Odd Table"
    where: |
      a = 1
        AND b = 2
  - document:{id}#viewer@user:* from documents WHERE public
`

func TestParse(t *testing.T) {
	m, err := Parse("perm.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Rules) != 4 {
		t.Fatalf("%d rules", len(m.Rules))
	}
	for i, want := range []struct {
		text, table, where string
		line, column       int
		whereAt            yamldoc.Position
		example            string
	}{
		{"document:{id}#owner@user:{owner_id}", "documents", "deleted_at is null", 3, 5, yamldoc.Position{Line: 3, Column: 62}, "document:x#owner@user:x"},
		{
			"document:{id}#viewer@group:{group_id}#member", "document_shares", "kind = 'group'", 4, 5,
			yamldoc.Position{Line: 6, Column: 12},
			"document:x#viewer@group:x#member[business_hours][expiration:1970-01-01T00:00:00.000001Z]",
		},
		{"org/document:{org}/{name}#parent@org:main", `app."Odd Table"`, "a = 1\n  AND b = 2", 10, 5, yamldoc.Position{Line: 13, Column: 1}, "org/document:x/x#parent@org:main"},
		{"document:{id}#viewer@user:*", "documents", "public", 15, 5, yamldoc.Position{Line: 15, Column: 54}, "document:x#viewer@user:*"},
	} {
		r := m.Rules[i]
		if r.text != want.text || r.Table() != want.table || r.where != want.where || r.Line != want.line || r.Column != want.column ||
			r.whereAt != want.whereAt {
			t.Errorf("rule %d is %q, %q, %q at %d:%d, %v; want %+v", i, r.text, r.table, r.where, r.Line, r.Column, r.whereAt, want)
		}
		if e := r.example(); e.String() != want.example {
			t.Errorf("rule %d: %s, want %s", i, e, want.example)
		}
	}
	if r := m.Rules[0]; r.ResourceType() != "document" || r.Relation() != "owner" {
		t.Error(r)
	}
	r := m.Rules[1]
	if r.caveat != "business_hours" || r.expires != "expires_at" || len(r.context) != 6 {
		t.Fatalf("%+v", r)
	}
	if c := r.context; c[0].value.columns[0] != "timezone" || c[2].value.literals[1] != "-" || c[3].constant != "3" || c[4].constant != "true" ||
		c[5].constant != `"{x}"` {
		t.Errorf("%+v", c)
	}
	for pair, want := range map[[2]string]bool{
		{"document", "owner"}: true, {"document", "viewer"}: true, {"document", "parent"}: false, {"user", "owner"}: false,
	} {
		if m.Mapped(pair[0], pair[1]) != want {
			t.Error(pair)
		}
	}
}

func TestParseProblems(t *testing.T) {
	for text, want := range map[string]string{
		"relationships: [": "p.yaml:1:",
		"relations: []":    `p.yaml:1:1: there is no setting "relations"`,
		"- a":              "p.yaml:1:1: want relationships",
		"relationships: 3": "p.yaml:1:16: want a list",
		"relationships:\n  - document:{id}#owner@user:{o}":                                              `p.yaml:2:5: "document:{id}#owner@user:{o}" is not a rule`,
		"relationships:\n  - document#owner@user:{o} from docs":                                         `p.yaml:2:5: "document" is not an object`,
		"relationships:\n  - document:{id}@user:{o} from docs":                                          "there is no # before the @",
		"relationships:\n  - document:{id}#owner from docs":                                             "there is no @",
		"relationships:\n  - doc{x}ment:{id}#owner@user:a from d":                                       "only ids have columns",
		"relationships:\n  - document:{id}#{r}ab@user:a from d":                                         "not the name of a relation",
		"relationships:\n  - document:*#owner@user:{o} from d":                                          "a resource cannot be a wildcard",
		"relationships:\n  - document:{id}#owner@user:*#all from d":                                     "a wildcard subject has no relation",
		"relationships:\n  - document:{id}*#owner@user:a from d":                                        "the wildcard * is an id of its own",
		"relationships:\n  - document:{id#owner@user:a from d":                                          "a { has no }",
		"relationships:\n  - document:id}#owner@user:a from d":                                          "a } has no {",
		"relationships:\n  - document:{}#owner@user:a from d":                                           "not the name of a column",
		"relationships:\n  - document:a.b#owner@user:a from d":                                          "a character other than",
		"relationships:\n  - from: d":                                                                   "the rule has no relation",
		"relationships:\n  - relation: document:a#owner@user:a":                                         "the rule has no table",
		"relationships:\n  - {relation: 'document:a#owner@user:a', from: d, wehre: x}":                  `a rule has no "wehre"`,
		"relationships:\n  - {relation: 'document:a#owner@user:a', from: d, context: {a: 1}}":           "a context belongs to a caveat",
		"relationships:\n  - {relation: 'document:a#owner@user:a', from: d, caveat: c, context: [1]}":   "context wants the parameters",
		"relationships:\n  - {relation: 'document:a#owner@user:a', from: d, caveat: c, context: {a: }}": "a wants a text",
		"relationships:\n  - {relation: 'document:a#owner@user:a', from: d, caveat: -c}":                "not the name of a caveat",
		"relationships:\n  - {relation: 'document:a#owner@user:a from d', from: d}":                     "given twice",
	} {
		_, err := Parse("p.yaml", []byte(text))
		var ps Problems
		if !errors.As(err, &ps) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v; want %s", text, err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.yaml")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := Load(path); err != nil || len(m.Rules) != 4 || m.Path != path {
		t.Error(m, err)
	}
}

func TestCheck(t *testing.T) {
	s, err := schema.Parse(`use expiration
caveat hours(tz string, level int) {
	tz == "UTC" && level > 1
}
definition user {}
definition group {
	relation member: user
}
definition document {
	relation owner: user
	relation viewer: group#member with hours and expiration | user:*
	permission view = viewer
}
`)
	if err != nil {
		t.Fatal(err)
	}
	for rule, want := range map[string]string{
		"document:{id}#owner@user:{o} from d":                                           "",
		"document:{id}#viewer@user:* from d":                                            "",
		"document:{id}#viewer@user:{o} from d":                                          "2:5",
		"document:{id}#view@user:* from d":                                              "permission",
		"document:{id}#editor@user:* from d":                                            "editor",
		"folder:{id}#owner@user:a from d":                                               "folder",
		"document:{id}#owner@group:a#members from d":                                    "members",
		"{relation: 'document:{id}#viewer@group:a#member', from: d, caveat: hours}":     "no subject of type",
		"{relation: 'document:{id}#owner@user:a', from: d, expires: x}":                 "no subject of type",
		"{relation: 'document:{id}#owner@user:a', from: d, caveat: nosuch, expires: x}": "no subject of type",
		"{relation: 'document:{id}#viewer@group:a#member', from: d, caveat: hours, expires: x, context: {tz: '{z}', level: 3}}": "",
		"{relation: 'document:{id}#viewer@group:a#member', from: d, caveat: hours, expires: x, context: {tz: '{z}', level: x}}": "int is expected",
		"{relation: 'document:{id}#viewer@group:a#member', from: d, caveat: hours, expires: x, context: {zone: '{z}'}}":         "no such parameter",
		"{relation: 'document:{id}#viewer@group:a#member', from: d, caveat: hours, expires: x, context: {tz: 5, level: '{l}'}}": "string is expected",
		"{relation: 'document:{id}#viewer@group:a#member', from: d, caveat: hours, expires: x, context: {level: '{l}', tz: a}}": "",
	} {
		m, err := Parse("p.yaml", []byte("relationships:\n  - "+rule))
		if err != nil {
			t.Fatal(rule, err)
		}
		got := m.Check(s)
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.Contains(got.Error(), want)) {
			t.Errorf("%s: %v; want …%s…", rule, got, want)
		}
	}
}
