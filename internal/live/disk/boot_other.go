//go:build !linux

package disk

// Boot names the time since the machine was started; "" if that is not known, as
// here. What a process wrote without making it durable is there for the next one
// as long as the name is the same.
func Boot() string { return "" }
