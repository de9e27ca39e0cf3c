package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// systemGimprc is what GIMP takes for its defaults: its share of the session's memory and processors. By itself GIMP counts the whole machine's, and
// is killed for memory instead of using its swap file, or starts a thread for each of 200 processors of which it may use two. The artist's own
// preferences go over these. Memory is in bytes, cpus may have a fraction; either is empty when there is no limit.
func systemGimprc(memory, cpus string) (string, error) {
	var b strings.Builder
	if memory != "" {
		n, err := strconv.ParseInt(memory, 10, 64)
		if err != nil || n < 1<<20 {
			return "", fmt.Errorf("EASEL_MEMORY is %q: must be a number of bytes, a megabyte or more", memory)
		}
		// The rest is for GIMP itself, its plug-ins and the other programs.
		fmt.Fprintf(&b, "(tile-cache-size %dk)\n(undo-size %dk)\n", n/2>>10, n/8>>10)
	}
	if cpus != "" {
		n, err := strconv.ParseFloat(cpus, 64)
		if err != nil || !(n > 0 && n <= 4096) {
			return "", fmt.Errorf("EASEL_CPUS is %q: must be a number of processors, such as 2 or 1.5", cpus)
		}
		fmt.Fprintf(&b, "(num-processors %d)\n", int(math.Ceil(n)))
	}
	return b.String(), nil
}
