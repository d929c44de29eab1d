package live

import (
	"testing"

	"github.com/tidemarkdb/tidemark/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
