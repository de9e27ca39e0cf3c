// Package browser drives real browsers against Easel: headless Chromium by the DevTools protocol and Firefox by WebDriver
// BiDi, with hands (mouse, pen, keyboard, text) and eyes (the pixels of #screen), for the tests and the benchmark.
package browser

import (
	"context"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

//go:embed probe.js
var probe string

// Chromium is one headless browser process.
type Chromium struct {
	ctx    context.Context
	cancel context.CancelFunc
	log    *slog.Logger
}

// StartChromium starts headless Chromium with an empty profile. It lives until Close or the end of ctx.
func StartChromium(ctx context.Context, log *slog.Logger) (*Chromium, error) {
	return startChromium(ctx, log, chromedp.Flag("headless", "new"))
}

// StartChromiumOn starts it with a window on an X server, given by the environment of its clients: what it takes from there is what an artist's has.
func StartChromiumOn(ctx context.Context, log *slog.Logger, env []string) (*Chromium, error) {
	// GTK's version says which modules of input methods it finds.
	return startChromium(ctx, log, chromedp.Flag("ozone-platform", "x11"), chromedp.Flag("gtk-version", "3"), chromedp.Flag("window-position", "0,0"), chromedp.Env(env...))
}

func startChromium(ctx context.Context, log *slog.Logger, where ...chromedp.ExecAllocatorOption) (*Chromium, error) {
	path, err := exec.LookPath("chromium")
	if err != nil {
		return nil, fmt.Errorf("find Chromium: %w; install the package chromium", err)
	}
	dir, remove, err := Scratch()
	if err != nil {
		return nil, err
	}
	alloc, stop := chromedp.NewExecAllocator(ctx, append(where,
		chromedp.Env("TMPDIR="+dir),
		chromedp.ExecPath(path),
		chromedp.Flag("no-sandbox", true),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("no-first-run", true),
		chromedp.Flag("no-default-browser-check", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("mute-audio", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.Flag("force-color-profile", "srgb"),
		chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
		// WebRTC between processes of one machine: pages may use loopback, and name it by its address.
		chromedp.Flag("allow-loopback-in-peer-connection", true),
		chromedp.Flag("disable-features", "WebRtcHideLocalIpsWithMdns"),
		chromedp.WindowSize(1920, 1080),
	)...)
	bctx, cancel := chromedp.NewContext(alloc)
	c := &Chromium{ctx: bctx, cancel: func() { cancel(); stop(); remove() }, log: log}
	if err := chromedp.Do(bctx); err != nil {
		c.cancel()
		return nil, fmt.Errorf("start Chromium %s: %w", path, err)
	}
	return c, nil
}

// Close ends the browser and waits for it.
func (c *Chromium) Close() { c.cancel() }

// Page is one tab. Its methods must not be used at the same time, but for the promises of Click and Watch.
type Page struct {
	ctx    context.Context
	cancel context.CancelFunc
	mu     sync.Mutex
	said   []string
	dpr    float64
}

// PageOptions say how a tab begins.
type PageOptions struct {
	Width, Height int     // CSS pixels; 0 means 1920×1080
	DPR           float64 // device pixels a CSS pixel; 0 means 1
	Alone         bool    // own cookies, as another person's browser would
	Window        bool    // in a window of its own, seen together with the others
	Script        string  // runs in each document before the page's own
}

// Open makes a tab with the probe in it, showing nothing yet.
func (c *Chromium) Open(o PageOptions) (*Page, error) {
	if o.Width == 0 {
		o.Width, o.Height = 1920, 1080
	}
	if o.DPR == 0 {
		o.DPR = 1
	}
	p := &Page{dpr: o.DPR}
	opts := []chromedp.ContextOption{chromedp.WithListener(p.listen)}
	if o.Alone {
		opts = append(opts, chromedp.WithNewBrowserContext())
	}
	if o.Window {
		opts = append(opts, chromedp.WithNewWindow(true))
	}
	p.ctx, p.cancel = chromedp.NewContext(c.ctx, opts...)
	if err := chromedp.Do(p.ctx); err != nil {
		p.cancel()
		return nil, fmt.Errorf("open a tab: %w", err)
	}
	if err := p.Resize(o.Width, o.Height, o.DPR); err != nil {
		p.cancel()
		return nil, err
	}
	if _, err := chromedp.Call(p.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: probe + "\n" + o.Script}); err != nil {
		p.cancel()
		return nil, fmt.Errorf("put the probe into the tab: %w", err)
	}
	return p, nil
}

// listen keeps what the page says on its console, for the message of a failed test.
func (p *Page) listen(ev any) {
	var line string
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, a := range e.Args {
			if len(a.Value) > 0 {
				words = append(words, string(a.Value))
			} else {
				words = append(words, a.Description)
			}
		}
		line = string(e.Type) + ": " + strings.Join(words, " ")
	case *runtime.EventExceptionThrown:
		line = "exception: " + e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			line += " " + x.Description
		}
	default:
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.said) < 200 {
		p.said = append(p.said, line)
	}
}

// Console is what the page has said on its console.
func (p *Page) Console() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, "\n")
}

// Close closes the tab.
func (p *Page) Close() { p.cancel() }

// Front brings the tab to the front of its window, and the window to the front of the others: keys go there.
func (p *Page) Front() error {
	if err := call(p, page.BringToFront, cdp.Empty{}); err != nil {
		return fmt.Errorf("bring a tab to the front: %w", err)
	}
	return p.Until(10*time.Second, "document.hasFocus()")
}

// Go loads a URL and waits for its load event.
func (p *Page) Go(url string) error {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		// The fragment may hold a token, which must not reach a log.
		bare, _, _ := strings.Cut(url, "#")
		return fmt.Errorf("load %s: %w", bare, err)
	}
	return nil
}

// Reload loads the page's address again.
func (p *Page) Reload() error {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	return nil
}

// Resize sets the window's inner size in CSS pixels and the device pixels a CSS pixel.
func (p *Page) Resize(width, height int, dpr float64) error {
	_, err := chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: int64(width), Height: int64(height), DeviceScaleFactor: dpr, ScreenWidth: int64(width), ScreenHeight: int64(height),
	})
	if err != nil {
		return fmt.Errorf("set window to %dx%d at %g: %w", width, height, dpr, err)
	}
	p.dpr = dpr
	return nil
}

// Eval runs a JavaScript expression, waits for its promise and decodes its value.
func Eval[T any](p *Page, limit time.Duration, js string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
	if err != nil {
		var x *chromedp.ExceptionError
		if errors.As(err, &x) && x.ExceptionDetails != nil && x.Exception != nil {
			err = errors.New(x.Exception.Description)
		}
		return v, fmt.Errorf("in the page, %s: %w", short(js), err)
	}
	return v, nil
}

// Do runs JavaScript for its effect.
func (p *Page) Do(js string) error {
	_, err := Eval[chromedp.Void](p, 20*time.Second, js)
	return err
}

// Until waits until a JavaScript expression is true.
func (p *Page) Until(limit time.Duration, js string) error {
	end := time.Now().Add(limit)
	for {
		ok, err := Eval[bool](p, limit, "!!("+js+")")
		if err == nil && ok {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s did not come true in %s (last: %v); the page says:\n%s", short(js), limit, err, p.Console())
		}
		select {
		case <-p.ctx.Done():
			return p.ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func short(js string) string {
	js = strings.Join(strings.Fields(js), " ")
	if len(js) > 160 {
		js = js[:160] + "…"
	}
	return js
}

// Screen is the size of the remote screen that #screen shows, in remote pixels; zero when it shows none.
func (p *Page) Screen() (image.Point, error) {
	s, err := Eval[struct{ Width, Height int }](p, 10*time.Second, "__probe.size()")
	return image.Pt(s.Width, s.Height), err
}

// Pixels reads a rectangle of the remote screen as the page shows it.
func (p *Page) Pixels(r image.Rectangle) (*image.RGBA, error) {
	js := fmt.Sprintf("__probe.grab(%d,%d,%d,%d)", r.Min.X, r.Min.Y, r.Dx(), r.Dy())
	s, err := Eval[string](p, 20*time.Second, js)
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != r.Dx()*r.Dy()*4 {
		return nil, fmt.Errorf("pixels of %v: %d bytes, %v", r, len(b), err)
	}
	return &image.RGBA{Pix: b, Stride: r.Dx() * 4, Rect: r}, nil
}

// Shows waits until each point of the remote screen has nearly the colour.
func (p *Page) Shows(limit time.Duration, c color.RGBA, points ...image.Point) error {
	_, err := Eval[bool](p, limit+5*time.Second, fmt.Sprintf("__probe.settle(%s,%s,%d)", pointsJS(points), colorJS(c), limit.Milliseconds()))
	return err
}

// call sends one command of the protocol with a deadline.
func call[P, R any](p *Page, cmd cdp.Command[P, R], params P) error {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	_, err := chromedp.Call(ctx, cmd, params)
	return err
}

func pointsJS(points []image.Point) string {
	var s []string
	for _, q := range points {
		s = append(s, fmt.Sprintf("[%d,%d]", q.X, q.Y))
	}
	return "[" + strings.Join(s, ",") + "]"
}

func colorJS(c color.RGBA) string { return fmt.Sprintf("[%d,%d,%d]", c.R, c.G, c.B) }
