package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"easel/integration/browser"
)

// attachment is a viewer that runs already, for who works on one part and wants its numbers.
type attachment struct {
	url, xSocket, xCookie, pids string
}

// open looks at the viewer's page.
func (a attachment) open(_ context.Context, b *browser.Chromium) (*Target, error) {
	if a.url == "" || a.xSocket == "" {
		return nil, errors.New("target page: needs -url and -x-socket")
	}
	g, err := parseGroups(a.pids)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	p, err := b.Open(browser.PageOptions{Width: screenWidth, Height: screenHeight})
	if err != nil {
		return nil, err
	}
	if err := p.Go(a.url); err != nil {
		p.Close()
		return nil, err
	}
	if err := p.Until(30*time.Second, "__probe.size().width === 1920 && __probe.size().height === 1080"); err != nil {
		p.Close()
		return nil, err
	}
	return &Target{
		Name: "page", XSocket: a.xSocket, XCookie: a.xCookie, Page: p, Close: p.Close,
		Groups: func() (Groups, error) { return g, nil }, Starts: map[string]time.Duration{"page": time.Since(begin)},
	}, nil
}

// parseGroups reads "streamer=12,X=13".
func parseGroups(s string) (Groups, error) {
	g := Groups{}
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		name, number, ok := strings.Cut(part, "=")
		pid, err := strconv.Atoi(number)
		if !ok || err != nil || pid < 1 {
			return nil, fmt.Errorf("-pids: %q is not NAME=PID", part)
		}
		g[name] = append(g[name], pid)
	}
	return g, nil
}
