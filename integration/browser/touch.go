package browser

import (
	"fmt"

	"github.com/chromedp/cdproto/input"
)

// Place is a place on the page in CSS pixels.
type Place struct{ X, Y float64 }

// Touch puts fingers on the page, has them move together along their paths, and lifts them. All paths have the same length. They go down in one
// message: a finger that a busy machine tells of late would be a long press.
func (p *Page) Touch(paths ...[]Place) error {
	at := func(step int) []*input.TouchPoint {
		var points []*input.TouchPoint
		for i, path := range paths {
			id := float64(i)
			points = append(points, &input.TouchPoint{X: path[step].X, Y: path[step].Y, ID: &id})
		}
		return points
	}
	touch := func(kind input.DispatchTouchEventType, points []*input.TouchPoint) error {
		if err := call(p, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: points}); err != nil {
			return fmt.Errorf("%s by %d fingers: %w", kind, len(paths), err)
		}
		return nil
	}
	if err := touch("touchStart", at(0)); err != nil {
		return err
	}
	for step := 1; step < len(paths[0]); step++ {
		if err := touch("touchMove", at(step)); err != nil {
			return err
		}
	}
	return touch("touchEnd", []*input.TouchPoint{})
}

// Line is a path in a straight line.
func Line(from, to Place, steps int) []Place {
	var path []Place
	for i := range steps + 1 {
		f := float64(i) / float64(steps)
		path = append(path, Place{from.X + (to.X-from.X)*f, from.Y + (to.Y-from.Y)*f})
	}
	return path
}
