package main

import (
	"strings"
	"testing"
)

// TestFollowerRows holds what decides whether a follower is wrong to texts as the
// server sends them, by long polls and as a stream.
func TestFollowerRows(t *testing.T) {
	message := func(operation, id, serial string) string {
		return `{"key":"k` + id + `","value":{"id":"` + id + `","serial":"` + serial + `"},"headers":{"operation":"` + operation + `"}}`
	}
	poll := "[" + message("insert", "1", "5") + ",\n" + message("insert", "2", "6") + ",\n" + `{"headers":{"control":"up-to-date"}}]`
	stream := "data: " + message("update", "1", "7") + "\n\n: keep-alive\n\nid: h/1_1\ndata: " + message("delete", "2", "6") + "\n\n"
	one, five, seven := "1", "5", "7"
	for _, c := range []struct {
		name, text, problem string
		serial              *string
	}{
		{"as it should be", poll + "\n" + stream, "", &seven},
		{"another value", poll + "\n" + stream, "row 1 is", &five},
		{"a row too many", poll, "2 rows, want 1", &five},
		{"twice", poll + "\n" + poll, "insert of a row that is there", &five},
		{"not there", stream, "update of a row that is there: false", &seven},
		{"over", `[{"headers":{"control":"must-refetch"}}]`, "over", &seven},
	} {
		f := &follower{text: []byte(c.text)}
		problem := ""
		if err := f.settle(); err != nil {
			problem = err.Error()
		} else {
			problem = f.differs(map[string]map[string]*string{"1": {"id": &one, "serial": c.serial}})
		}
		if !strings.Contains(problem, c.problem) || (problem == "") != (c.problem == "") {
			t.Errorf("%s: %q, want %q", c.name, problem, c.problem)
		}
	}
}
