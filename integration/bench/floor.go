package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// floorPage is a viewer with nothing remote: a canvas that answers each press in the event's own handler. No remote screen
// can be sooner in this browser, so the table says what the other numbers stand on.
const floorPage = `<!doctype html><meta charset="utf-8"><title>floor</title>
<style>html,body{margin:0;overflow:hidden}canvas{display:block}</style>
<div id="screen"><canvas width="1920" height="1080"></canvas></div>
<script>
const screen2d = document.querySelector('canvas').getContext('2d');
let show = () => {};
let n = 0;
addEventListener('pointerdown', () => show(++n));
function photograph(w, h, color, points) {
  const c = new OffscreenCanvas(w, h), g = c.getContext('2d'), d = g.createImageData(w, h), p = new Uint32Array(d.data.buffer);
  for (let i = 0; i < p.length; i++) p[i] = 0xff000000 | (Math.random() * 0x1000000);
  g.putImageData(d, 0, 0);
  g.fillStyle = color;
  for (const [x, y] of points) g.fillRect(x - 24, y - 24, 48, 48);
  return c;
}
// Shows state 0 of a target now and the next with each press.
function answer(x, y, w, h, photo, colors, points) {
  const photos = photo ? colors.map((c) => photograph(w, h, c, points.map(([px, py]) => [px - x, py - y]))) : [];
  show = (n) => {
    if (photo) return screen2d.drawImage(photos[n % photos.length], x, y);
    screen2d.fillStyle = colors[n % colors.length];
    screen2d.fillRect(x, y, w, h);
  };
  n = 0;
  show(0);
}
</script>
`

// openFloor shows the local canvas.
func openFloor(ctx context.Context, b *browser.Chromium) (*Target, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("serve the local canvas: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(floorPage))
	})}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }() // ends with Close
	stop := func() { _ = srv.Close(); <-served }
	p, err := b.Open(browser.PageOptions{Width: screenWidth, Height: screenHeight})
	if err != nil {
		stop()
		return nil, err
	}
	t := &Target{
		Name: floorName, Page: p, Close: func() { p.Close(); stop() },
		Answer: func(x xclient.Target) error { return p.Do(answerJS(x)) },
	}
	if err := p.Go("http://" + l.Addr().String() + "/"); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func answerJS(x xclient.Target) string {
	var colors []string
	for _, c := range xclient.Palette {
		colors = append(colors, fmt.Sprintf("rgb(%d,%d,%d)", c.R, c.G, c.B))
	}
	var points [][2]int
	for _, q := range x.Points() {
		points = append(points, [2]int{q.X, q.Y})
	}
	c, _ := json.Marshal(colors)
	q, _ := json.Marshal(points)
	return fmt.Sprintf("answer(%d,%d,%d,%d,%t,%s,%s)", x.Area.Min.X, x.Area.Min.Y, x.Area.Dx(), x.Area.Dy(), x.Photo, c, q)
}
