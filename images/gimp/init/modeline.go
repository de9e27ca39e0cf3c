package main

import (
	"fmt"
	"strconv"
	"strings"
)

// Bounds of the first screen; later ones are the streamer's to choose.
const (
	minSide, maxSide         = 320, 8192
	usualWidth, usualHeight  = 1920, 1080
	modeMark, modelineMark   = "@MODE@", "@MODELINE@"
	highestClock             = 300_000_000 // Hz: what the dummy driver takes
	blankColumns, blankLines = 200, 40     // 160 columns would be "reduced blanking", which the driver refuses
	refresh                  = 60
)

// side reads a width or height from the environment; empty means usual.
func side(name, value string, usual int) (int, error) {
	if value == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < minSide || n > maxSide {
		return 0, fmt.Errorf("%s is %q: must be a number of pixels, %d to %d", name, value, minSide, maxSide)
	}
	return n, nil
}

// xorgConfig puts the first mode into the configuration's template. The dummy screen shows nothing, so only the size matters; the
// rest keeps to what the driver accepts.
func xorgConfig(template string, width, height int) (string, error) {
	if !strings.Contains(template, modeMark) || !strings.Contains(template, modelineMark) {
		return "", fmt.Errorf("the X configuration has no place for the mode (%s, %s)", modeMark, modelineMark)
	}
	columns, lines := width+blankColumns, height+blankLines
	clock := min(columns*lines*refresh, highestClock)
	name := fmt.Sprintf(`"%dx%d"`, width, height)
	modeline := fmt.Sprintf("%s %.2f %d %d %d %d %d %d %d %d", name, float64(clock)/1e6,
		width, width+40, width+100, columns, height, height+3, height+8, lines)
	return strings.NewReplacer(modelineMark, modeline, modeMark, name).Replace(template), nil
}
