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
