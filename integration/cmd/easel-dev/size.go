package main

import (
	"io/fs"
	"syscall"
)

// allocated is a file's space on disk; st_blocks counts 512 bytes whatever the file system (stat(2)).
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
