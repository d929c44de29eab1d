package disk

import (
	"os"
	"strings"
)

// Boot names the time since the machine was started; "" if that is not known. What
// a process wrote without making it durable is there for the next one as long as
// the name is the same.
func Boot() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
