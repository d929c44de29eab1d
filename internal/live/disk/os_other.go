//go:build !unix

package disk

import "os"

// lock does not keep other processes out where there are no such locks; the
// replication slot does, for all who follow the same one.
func lock(*os.File) error { return nil }

func isFull(error) bool { return false }

// Sync does nothing where a directory cannot be made durable by itself.
func Sync(string) error { return nil }
