// Package duration reads and writes durations as people put them into
// configuration and endpoint files: Go's form, with weeks and days.
package duration

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	day  = 24 * time.Hour
	week = 7 * day

	// most bounds the whole days, so that nothing overflows.
	most = 100_000 * day
)

// Examples shows in a message what Parse reads.
const Examples = "30s, 12h, 7d or 2w"

var long = regexp.MustCompile(`^([+-]?)(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// Parse reads Go's form, such as 1m30s, in which whole weeks and then whole days
// may stand in front: 2w, 7d, 1w3d12h. A day has 24 hours.
func Parse(s string) (time.Duration, error) {
	wrong := fmt.Errorf("%q is not a duration", s)
	m := long.FindStringSubmatch(s)
	if m == nil || m[2] == "" && m[3] == "" {
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, wrong
		}
		return d, nil
	}
	var d time.Duration
	for i, unit := range []time.Duration{week, day} {
		if m[2+i] == "" {
			continue
		}
		n, err := strconv.ParseInt(m[2+i], 10, 64)
		if err != nil || n > int64(most/unit) {
			return 0, wrong
		}
		d += time.Duration(n) * unit
	}
	if d > most {
		return 0, wrong
	}
	if m[4] != "" {
		rest, err := time.ParseDuration(m[4])
		if err != nil || m[4][0] == '-' || m[4][0] == '+' {
			return 0, wrong
		}
		if d += rest; d < 0 {
			return 0, wrong
		}
	}
	if m[1] == "-" {
		d = -d
	}
	return d, nil
}

// Format is a short form that Parse reads: 24h, not 24h0m0s.
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
