// Package vnc holds what keeps the image's VNC server, X0tigervnc, running when the screen changes its size.
package vnc

import "embed"

// Source is C, because Xlib takes its handler of errors from the process itself. X0tigervnc loads it ahead of Xlib (LD_PRELOAD).
//
//go:embed src
var Source embed.FS
