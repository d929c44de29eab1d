package pgtest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"regexp"
)

// newSystemID gives a stopped, cleanly shut down data folder another system identifier, as if initdb
// had made it. Copies of one template would otherwise be one cluster to everybody who compares
// identifiers.
//
// The identifier is the first field of ControlFileData (Postgres's catalog/pg_control.h), covered by
// the CRC-32C that is the struct's last field, and it is repeated in the long header of the first
// page of each log segment (access/xlog_internal.h), which no checksum covers. Both are in the byte
// order of the machine.
func newSystemID(dataDir string) error {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	random[7] &= 0x7f // big-endian or little, one end of it: IDENTIFY_SYSTEM has no sign
	random[0] &= 0x7f
	random[3] |= 1 // never zero
	id := random[:]

	path := filepath.Join(dataDir, "global", "pg_control")
	control, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	at, err := controlCRC(control)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	copy(control, id)
	binary.NativeEndian.PutUint32(control[at:], crc32.Checksum(control[:at], crc32.MakeTable(crc32.Castagnoli)))
	if err := os.WriteFile(path, control, 0o600); err != nil {
		return err
	}

	entries, err := os.ReadDir(filepath.Join(dataDir, "pg_wal"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if segmentName.MatchString(e.Name()) {
			if err := writeAt(filepath.Join(dataDir, "pg_wal", e.Name()), id, segmentSystemID); err != nil {
				return err
			}
		}
	}
	return nil
}

var segmentName = regexp.MustCompile(`^[0-9A-F]{24}$`)

// segmentSystemID is the offset of xlp_sysid, after an XLogPageHeaderData that is padded to 24 bytes.
const segmentSystemID = 24

// controlCRC finds the checksum by its value, because each major version has other fields before it.
func controlCRC(control []byte) (int, error) {
	table := crc32.MakeTable(crc32.Castagnoli)
	for at := 64; at+4 <= min(len(control), 1024); at += 4 {
		if crc32.Checksum(control[:at], table) == binary.NativeEndian.Uint32(control[at:]) {
			return at, nil
		}
	}
	return 0, errors.New("no checksum found in it")
}

func writeAt(path string, b []byte, offset int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(b, offset); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
