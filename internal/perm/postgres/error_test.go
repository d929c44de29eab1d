package postgres

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
)

func TestDatabaseError(t *testing.T) {
	for _, c := range []struct {
		err   error
		again bool
	}{
		{&pgconn.PgError{Code: "57P01", Message: "terminating"}, true},
		{&pgconn.PgError{Code: "53300", Message: "too many clients"}, true},
		{&pgconn.PgError{Code: "42501", Message: "permission denied"}, false},
		{&pgconn.PgError{}, false},
		{&pgconn.ConnectError{}, true},
	} {
		got := databaseError(c.err)
		var u interface{ Unavailable() bool }
		if again := errors.As(got, &u) && u.Unavailable(); again != c.again || !errors.Is(got, ErrDatabase) {
			t.Errorf("%v: %v, unavailable %v", c.err, got, again)
		}
	}
	if !errors.As(error(ErrSilent), new(interface{ Unavailable() bool })) {
		t.Error("a silent log is not unavailable")
	}
	other := errors.New("something else")
	if databaseError(other) != other {
		t.Error("an error that is not the database's was changed")
	}
}
