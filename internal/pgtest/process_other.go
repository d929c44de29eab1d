//go:build !unix

package pgtest

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// On other systems than Unix the package builds, and says that it cannot run a server.

var errUnsupported = errors.New("throwaway servers need a Unix system")

type osUser struct {
	name     string
	uid, gid int
	other    bool
}

func runUser() (osUser, error)                          { return osUser{}, errUnsupported }
func (osUser) runAs(*exec.Cmd)                          {}
func (osUser) own(string) error                         { return nil }
func (osUser) canReach(string) error                    { return nil }
func signal(int, syscall.Signal) error                  { return errUnsupported }
func waitEnded(int) bool                                { return true }
func freeze(int, time.Time) (children []int, err error) { return nil, errUnsupported }
func processRuns(int) bool                              { return false }
func psOrphan(int, string) int                          { return 0 }
func ownedBySelf(string) error                          { return errUnsupported }
func tryLock(*os.File) bool                             { return false }
func waitLock(*os.File) error                           { return errUnsupported }
