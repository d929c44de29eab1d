package liveapitest

import (
	"testing"
	"time"
)

// Message is what clients are sent, of which they have most use.
type Message struct {
	Value   map[string]string
	Headers struct {
		Operation, Control, Token string
		Seen                      string `json:"global_last_seen_lsn"`
	}
}

// Waits returns once n requests wait.
func Waits(t testing.TB, live interface{ Waiting() int }, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); live.Waiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d requests wait, want %d", live.Waiting(), n)
		}
	}
}
