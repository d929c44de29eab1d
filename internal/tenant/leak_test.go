package tenant_test

import (
	"net/http"
	"testing"

	"go.uber.org/goleak"
)

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	r := newRig(t, shopSchema, shopEndpoints, nil)
	for _, path := range []string{"/v1/users/1", "/v1/count", "/v1/users/1/orders"} {
		r.get(path)
		r.get(path, level, "fully_consistent")
	}
	r.stop()
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, before)
}
