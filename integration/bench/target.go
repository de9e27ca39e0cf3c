package main

import (
	"context"
	"time"

	"easel/integration/browser"
	"easel/integration/xclient"
)

// Target is one way to see a remote screen of 1920×1080 in a browser, running and connected.
type Target struct {
	Name    string
	XSocket string
	XCookie string // "" when the X server asks for none
	Page    *browser.Page
	// Groups finds the server's processes; the benchmark's own X client and the browser are not among them.
	Groups func() (Groups, error)
	// HasGIMP says that GIMP is on the screen and the page is Easel's viewer.
	HasGIMP bool
	// Overhead finds what the machine runs for all sessions together; may be nil.
	Overhead func() (Groups, error)
	// Starts are the times it took to get here, by what.
	Starts map[string]time.Duration
	Warmth []Start
	Close  func()
	// Answer has the page itself answer clicks, with nothing remote; nil when an X client on XSocket does. Nothing but
	// clicks can be measured then.
	Answer func(xclient.Target) error
}

// opener starts a target in a browser.
type opener func(ctx context.Context, b *browser.Chromium) (*Target, error)

const (
	screenWidth  = 1920
	screenHeight = 1080
)
