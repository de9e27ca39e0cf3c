package main

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// siginfoPid is si_pid of a child's siginfo (sigaction(2)): the first field after signal number, errno and code. Its union begins at the
// alignment of a pointer.
func siginfoPid(info *unix.Siginfo) int {
	const header = 3 * 4
	const word = unsafe.Sizeof(uintptr(0))
	offset := (header + word - 1) / word * word
	raw := (*[unsafe.Sizeof(*info)]byte)(unsafe.Pointer(info))
	return int(int32(binary.NativeEndian.Uint32(raw[offset:])))
}
