package tenant

import "testing"

func TestEquivalent(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`[]`, `[]`, true},
		{`[{"a":1},{"a":2}]`, `[{"a":2},{"a":1}]`, true},
		{`[{"a":1},{"a":1}]`, `[{"a":1}]`, false},
		{`[{"a":[1,2]}]`, `[{"a":[2,1]}]`, true},
		{`{"s":0.30000000000000004}`, `{"s":0.3}`, true},
		{`{"s":0.301}`, `{"s":0.3}`, false},
		{`{"s":12345678901234567890}`, `{"s":12345678901234567891}`, false},
		{`{"s":"1"}`, `{"s":1}`, false},
		{`{"a":null}`, `{"a":false}`, false},
		{``, `{}`, false},
	} {
		if got := equivalent([]byte(c.a), []byte(c.b)); got != c.want {
			t.Errorf("equivalent(%s, %s) = %v", c.a, c.b, got)
		}
	}
}
