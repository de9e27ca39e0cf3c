package browser

import (
	"fmt"
	"os"
	"time"
)

// Scratch makes a folder for what a browser keeps where TMPDIR says, and leaves there when it is killed. Remove it once the browser has ended: what of
// it ends later, and writes there meanwhile, is waited for.
func Scratch() (dir string, remove func(), err error) {
	// A unix socket's path is short: not below the folder of a test with a long name.
	if dir, err = os.MkdirTemp("", "easel-browser-"); err != nil {
		return "", nil, fmt.Errorf("make a folder for a browser: %w", err)
	}
	return dir, func() { _ = removeAll(dir) }, nil
}

// removeAll removes a folder in which processes that are about to end may still make files.
func removeAll(dir string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := os.RemoveAll(dir); err == nil || time.Now().After(end) {
			return err
		}
	}
}
