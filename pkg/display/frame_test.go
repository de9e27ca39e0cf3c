package display

import (
	"errors"
	"image"
	"testing"

	"easel/pkg/display/xorgtest"

	"github.com/jezek/xgb/shm"
	"github.com/jezek/xgb/xproto"
)

// TestReadMakesNothingNew compares a read with the X library's own requests for the same bands: beside them it allocates nothing.
func TestReadMakesNothingNew(t *testing.T) {
	d := open(t, xorgtest.Start(t))
	f, err := d.Output(1).NewFrame()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rects := []image.Rectangle{image.Rect(10, 100, 90, 130), image.Rect(300, 500, 400, 580)}
	pieces := 0
	arrived := func(image.Rectangle) { pieces++ }
	read := func() {
		if err := f.Read(rects, arrived); err != nil {
			t.Fatal(err)
		}
	}
	read()
	bands := append([]band(nil), f.bands...)
	cookies := make([]shm.GetImageCookie, len(bands))
	const runs = 100
	library := testing.AllocsPerRun(runs, func() {
		for i, b := range bands {
			cookies[i] = shm.GetImage(d.xc, xproto.Drawable(d.root), 0, int16(b.y0), uint16(f.Size.X), uint16(b.y1-b.y0), 0xffffffff, zPixmap, f.seg, 0)
		}
		for _, c := range cookies {
			if _, err := c.Reply(); err != nil {
				t.Fatal(err)
			}
		}
	})
	pieces = 0
	// Half of one: elsewhere in the process something may be made meanwhile.
	if ours := testing.AllocsPerRun(runs, read) - library; ours >= 0.5 {
		t.Errorf("a read allocates %v times beside the X library's %v", ours, library)
	}
	if want := (runs + 1) * len(bands); pieces != want {
		t.Errorf("%d pieces arrived, want %d", pieces, want)
	}
}

func TestNothingArrivesOfAReadThatIsGivenUp(t *testing.T) {
	var r frameReader
	answered, late := make(chan struct{}), make(chan struct{})
	r.start(func() error {
		<-answered
		r.tell(image.Rect(0, 0, 1, 1))
		close(late)
		return errors.New("too late")
	})
	r.begin(image.Point{}, func(image.Rectangle) { t.Error("a piece arrived for somebody who had given up") })
	r.forget()
	r.stop(true)
	close(answered)
	<-late
	<-r.ended
}
