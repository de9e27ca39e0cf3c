package packages_test

import (
	"fmt"
	"io/fs"
	"syscall"
)

// describe is a file's type, mode and owner, as "drwx--x--x 0:0".
func describe(info fs.FileInfo) string {
	owner := "?"
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		owner = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
	}
	return fmt.Sprintf("%s %s", info.Mode(), owner)
}
