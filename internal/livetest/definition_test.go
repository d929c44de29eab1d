package livetest

import (
	"testing"
)

// oddNames has names that need quotes.
var oddNames = scenario{
	name: "names", schema: `
	CREATE SCHEMA "My Schema";
	CREATE TABLE "Weird ""Name"" x" ("Some Col" int PRIMARY KEY, "quo""te" text, "a,b" text, "ALL" int, ünï text);
	CREATE TABLE "My Schema"."T.1/2" ("Id" int PRIMARY KEY, value text);
	INSERT INTO "Weird ""Name"" x" VALUES (1, 'q', 'c', 1, 'ü');`,
	tables: "- schema: '\"My Schema\"'\n",
	run: func(t *testing.T, w *world) {
		b := newBook(t, w.db)
		table := `"Weird ""Name"" x"`
		all := []*follower{
			w.follow(t, b.view("SELECT * FROM "+table), following{params: map[string]any{"table": table, "replica": "full"}}),
			w.follow(t, b.view("SELECT * FROM "+table), following{params: map[string]any{"table": "public." + table}, sse: true}),
			w.follow(t, b.view(`SELECT "Some Col", "a,b", "quo""te" FROM `+table), following{params: map[string]any{"table": table, "columns": []string{"Some Col", "a,b", `quo"te`}}}),
			w.follow(t, b.view("SELECT * FROM "+table+` WHERE "ALL" > 1 AND ünï = 'ü'`),
				following{params: map[string]any{"table": table, "where": `"ALL" > 1 AND ünï = $1`, "params": []string{"ü"}, "replica": "full"}}),
			w.follow(t, b.view(`SELECT * FROM "My Schema"."T.1/2"`), following{params: map[string]any{"table": `"My Schema"."T.1/2"`, "replica": "full"}}),
		}
		for i := range 6 {
			b.do(`INSERT INTO %s VALUES (%d, 'a"b', ',', %d, 'ü'); UPDATE %[1]s SET "ALL" = "ALL" + 1, "quo""te" = '%%'`, table, i+10, i%3)
			b.do(`INSERT INTO "My Schema"."T.1/2" VALUES (%d, 'x'); UPDATE "My Schema"."T.1/2" SET value = '/"' WHERE "Id" = %[1]d`, i)
			b.do(`DELETE FROM %s WHERE "Some Col" = %d`, table, i+9)
		}
		for _, f := range all {
			f.settle()
		}
	},
}

// bigTransaction has transactions much larger than a chunk: nobody is told to
// be up to date inside of one.
var bigTransaction = scenario{name: "big transaction", schema: items("big"), run: func(t *testing.T, w *world) {
	b := newBook(t, w.db)
	all := []*follower{
		w.follow(t, b.view("SELECT * FROM big"), following{params: map[string]any{"table": "big", "replica": "full"}}),
		w.follow(t, b.view("SELECT * FROM big"), following{params: map[string]any{"table": "big"}, sse: true}),
		w.follow(t, b.view("SELECT * FROM big WHERE n < 10"), following{params: map[string]any{"table": "big", "where": "n < 10"}}),
	}
	for _, f := range all {
		f.settle()
	}
	b.do("INSERT INTO big SELECT i, 'n' || i, i %% 100, repeat('x', i %% 200) FROM generate_series(2000, 4999) i")
	b.do("UPDATE big SET n = (n + 1) %% 100, name = name || '?' WHERE id > 1000; DELETE FROM big WHERE id %% 3 = 0")
	all = append(all, w.follow(t, b.view("SELECT * FROM big"), following{params: map[string]any{"table": "big"}}))
	b.do("INSERT INTO big VALUES (9999, 'last', 1, NULL)")
	for _, f := range all {
		f.settle()
	}
}}

// later follows a table that was made after the server has started.
var later = scenario{name: "a later table", run: func(t *testing.T, w *world) {
	b := newBook(t, w.db)
	b.do("CREATE TABLE afterwards (id int PRIMARY KEY, t text); INSERT INTO afterwards VALUES (1, 'a')")
	w.run("init", "--yes")
	f := w.follow(t, b.view("SELECT * FROM afterwards"), following{params: map[string]any{"table": "afterwards", "replica": "full"}})
	for i := range 5 {
		b.do("INSERT INTO afterwards VALUES (%d, 'b'); UPDATE afterwards SET t = t || 'c'", i+2)
	}
	f.settle()
	// Columns come and go; whoever has the old ones begins anew.
	b.do("ALTER TABLE afterwards ADD n int DEFAULT 7; UPDATE afterwards SET n = 8 WHERE id = 2")
	f.settle()
	b.do("ALTER TABLE afterwards DROP t; DELETE FROM afterwards WHERE id = 3")
	f.settle()
	b.do("ALTER TABLE afterwards RENAME n TO m; INSERT INTO afterwards VALUES (9, 9)")
	f.settle()
}}
