package browser

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// Drop drags files of this machine onto a place of the page, in CSS pixels, and lets them go there.
func (p *Page) Drop(x, y float64, files ...string) error {
	const asCopy = 1
	data := &input.DragData{Items: []*input.DragDataItem{}, DragOperationsMask: asCopy}
	for _, f := range files {
		at, err := filepath.Abs(f)
		if err != nil {
			return err
		}
		data.Files = append(data.Files, at)
	}
	for _, kind := range []input.DispatchDragEventType{"dragEnter", "dragOver", "drop"} {
		if err := call(p, input.DispatchDragEvent, input.DispatchDragEventParams{Type: kind, X: x, Y: y, Data: data}); err != nil {
			return fmt.Errorf("drop files: %s: %w", kind, err)
		}
	}
	return nil
}

// DownloadsTo has the whole browser save downloads in dir.
func (c *Chromium) DownloadsTo(dir string) error {
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	if _, err := chromedp.Call(ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{Behavior: "allow", DownloadPath: dir}); err != nil {
		return fmt.Errorf("say where downloads go: %w", err)
	}
	return nil
}

// Downloads is the browser's own list of downloads.
type Downloads struct{ *Page }

// Downloads opens the browser's list of downloads.
func (c *Chromium) Downloads() (Downloads, error) {
	p, err := c.Open(PageOptions{Width: 900, Height: 700})
	if err != nil {
		return Downloads{}, err
	}
	if err := p.Go("chrome://downloads"); err != nil {
		p.Close()
		return Downloads{}, err
	}
	return Downloads{p}, nil
}

// Press presses an action of the newest download's menu ("Cancel", "Resume"), which it opens first. False when it did not yet, or there is no such action.
func (d Downloads) Press(action string) (bool, error) {
	return Eval[bool](d.Page, 10*time.Second, fmt.Sprintf(`(() => {
  const inside = (root) => [...root.querySelectorAll("*")].flatMap((e) => [e, ...(e.shadowRoot ? inside(e.shadowRoot) : [])]);
  const item = inside(document).find((e) => e.localName === "downloads-item");
  if (!item) return false;
  const all = inside(item.shadowRoot), seen = all.filter((e) => e.localName.includes("button") && e.getClientRects().length > 0);
  const action = seen.find((e) => e.textContent.trim() === %q);
  if (action) action.click();
  else if (!all.some((e) => e.localName === "dialog" && e.open)) seen.find((e) => e.id === "more-actions")?.click();
  return !!action;
})()`, action))
}

// Choose puts files of this machine into the page's input element that a CSS selector names.
func (f *Firefox) Choose(ctx context.Context, selector string, files ...string) error {
	var found struct {
		Nodes []struct {
			SharedID string `json:"sharedId"`
		}
	}
	locate := map[string]any{"context": f.tab, "locator": map[string]any{"type": "css", "value": selector}}
	if err := f.call(ctx, "browsingContext.locateNodes", locate, &found); err != nil {
		return err
	}
	if len(found.Nodes) != 1 {
		return fmt.Errorf("the page has %d elements %s", len(found.Nodes), selector)
	}
	return f.call(ctx, "input.setFiles", map[string]any{"context": f.tab, "element": map[string]any{"sharedId": found.Nodes[0].SharedID}, "files": files}, nil)
}
