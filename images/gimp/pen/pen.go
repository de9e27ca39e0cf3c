// Package pen holds the source of easelpen, the Xorg input driver through which every pointer of a session comes: pen, eraser and mouse,
// each as an X device of its own, because an X client can tell pressure and tilt only from a device that has such axes.
package pen

import "embed"

// Source is the driver's C source, compiled against the image's own X server headers.
//
//go:embed src
var Source embed.FS
