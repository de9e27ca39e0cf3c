package integration

import (
	"context"
	"fmt"
	"image"
	"strings"
	"testing"
	"time"

	"easel/integration/artist"
	"easel/integration/browser"
	"easel/integration/xclient"
)

// bare keeps what lies over the picture out of the way of the tests' eyes and clicks.
const bare = "document.addEventListener('DOMContentLoaded', () => { for (const id of ['strip', 'handle', 'toast', 'guest']) document.getElementById(id).style.visibility = 'hidden'; });"

// makeLink makes a link by the owner's dialog, and closes it again.
func makeLink(t *testing.T, owner *browser.Page, role, name string) string {
	t.Helper()
	must(t, owner.Do(fmt.Sprintf(`(() => {
		document.getElementById('share').click();
		document.getElementById('share-role').value = %q;
		document.getElementById('share-name').value = %q;
		document.getElementById('share-form').requestSubmit();
	})()`, role, name)))
	must(t, owner.Until(30*time.Second, "document.getElementById('share-url').value !== ''"))
	url, err := browser.Eval[string](owner, 5*time.Second, "document.getElementById('share-url').value")
	must(t, err)
	must(t, owner.Do("document.getElementById('share-close').click()"))
	must(t, owner.Until(30*time.Second, "document.getElementById('share-url').value === ''")) // it is told once
	return url
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// comeIn opens a link in a browser of somebody else's.
func (w *world) comeIn(t *testing.T, url, name string) *browser.Page {
	t.Helper()
	p, err := w.chrome.Open(browser.PageOptions{
		Width: 1280, Height: 720, Alone: true, Window: true, Script: fmt.Sprintf("localStorage.setItem('easel.name', %q);", name) + bare,
	})
	must(t, err)
	t.Cleanup(p.Close)
	must(t, p.Go(url+"&scale=1"))
	if err := artist.AwaitPicture(p, 60*time.Second); err != nil {
		t.Fatal(err)
	}
	at, err := browser.Eval[string](p, 5*time.Second, "location.href")
	must(t, err)
	if secret := url[strings.Index(url, "share="):]; strings.Contains(at, secret) {
		t.Errorf("%s's address still has the secret", name)
	}
	return p
}

// An owner shares a session by links: guests see the same picture, the hand is one person's at a time, and a link that is revoked cuts who came by it.
func TestSessionIsShared(t *testing.T) {
	w := get(t)
	s := w.session(t)
	owner := w.view(t, s.ID, "scale=1&size=1280x720", browser.PageOptions{Width: 1280, Height: 720, Window: true, Script: bare})
	eventually(t, 30*time.Second, "the page shows 1280×720", func() error { return hasSize(owner, 1280, 720) })
	x := w.x(t, s.ID)
	ctx, cancel := context.WithCancel(t.Context())
	ready, presses, ended := make(chan struct{}), make(chan xclient.Press, 16), make(chan error, 1)
	target := xclient.Target{Area: image.Rect(200, 200, 1000, 600)}
	go func() {
		ended <- x.Click(ctx, target, func() { close(ready) }, func(_ int, q xclient.Press) { presses <- q })
	}()
	defer func() { cancel(); <-ended }()
	<-ready
	shown := 0
	// click has somebody click, and the next press that reaches the X server must be this one.
	click := func(who string, p *browser.Page, x, y float64) {
		t.Helper()
		must(t, p.Click(x, y, browser.Left))
		select {
		case q := <-presses:
			if q.At != image.Pt(int(x), int(y)) {
				t.Fatalf("%s clicked at %g,%g, and what came is a press at %v", who, x, y, q.At)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s's click never came", who)
		}
		shown++
	}
	alike := func(pages ...*browser.Page) {
		t.Helper()
		for _, p := range pages {
			must(t, p.Shows(30*time.Second, xclient.Palette[shown%len(xclient.Palette)], target.Points()...))
		}
	}
	has := func(p *browser.Page, words string) {
		t.Helper()
		must(t, p.Until(30*time.Second, fmt.Sprintf("document.getElementById('guest-text').textContent.includes(%q)", words)))
	}

	viewing, taking := makeLink(t, owner, "view", "for Vi"), makeLink(t, owner, "take-part", "for Bo")
	vi, bo := w.comeIn(t, viewing, "Vi"), w.comeIn(t, taking, "Bo")
	must(t, owner.Until(30*time.Second, "document.getElementById('share-count').textContent === '3'"))
	alike(owner, vi, bo)
	has(vi, "You are watching")
	has(bo, "You take part in")

	must(t, vi.Click(300, 250, browser.Left)) // both are dropped
	must(t, bo.Click(310, 260, browser.Left))
	click("the owner", owner, 600, 300)
	alike(owner, vi, bo)

	give := "[...document.querySelectorAll('#people button')].find((b) => b.textContent === 'Give the hand').click()"
	must(t, owner.Do("document.getElementById('share').click(); "+give+"; document.getElementById('share-close').click()"))
	has(bo, "You have the hand")
	must(t, owner.Click(320, 270, browser.Left)) // so is this
	click("Bo", bo, 500, 350)
	alike(owner, vi, bo)

	must(t, owner.Do("document.getElementById('guest-back').click()"))
	must(t, owner.Until(30*time.Second, "document.getElementById('guest').hidden"))
	must(t, bo.Click(330, 280, browser.Left))
	click("the owner again", owner, 700, 400)
	alike(owner, vi, bo)

	revoke := `(() => {
		const line = [...document.querySelectorAll('#share-links li')].find((l) => l.textContent.includes('for Vi'));
		line?.querySelector('button').click();
		return line !== undefined;
	})()`
	must(t, owner.Do("document.getElementById('share').click()"))
	must(t, owner.Until(30*time.Second, revoke))
	must(t, vi.Until(30*time.Second, "window.easel.state === 'signed-out'"))
	must(t, owner.Until(30*time.Second, "document.getElementById('share-count').textContent === '2'"))
	must(t, owner.Do("document.getElementById('share-close').click()"))
	must(t, vi.Go(viewing))
	must(t, vi.Until(30*time.Second, "window.easel.state === 'signed-out'"))
	click("the owner at last", owner, 710, 410)
	alike(owner, bo)
}
