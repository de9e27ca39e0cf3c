// Package viewer holds the browser client, built by Vite from the TypeScript beside this file, so that
// the node can serve it from its own binary and page and node always fit each other.
package viewer

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// ContentSecurityPolicy is what the page needs and no more. Images may be data: and blob: because the remote
// cursor is one; 'self' covers the WebSocket of the VNC fallback.
const ContentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; " +
	"connect-src 'self'; media-src 'self' blob:; font-src 'self'; worker-src 'self'; manifest-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ErrNotBuilt means that this binary was compiled before the browser client was.
var ErrNotBuilt = errors.New("the viewer page was not built into this binary: run `npm ci && npm run build` in pkg/viewer, then compile again")

// Assets is what to serve: index.html for a session's page, and below it the files that it names by absolute
// address (/assets/NAME, with a hash of the content in NAME, and /favicon.svg). It returns ErrNotBuilt when
// the browser client was missing at compile time.
func Assets() (fs.FS, error) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, fmt.Errorf("open the embedded viewer: %w", err)
	}
	return built(files)
}

func built(files fs.FS) (fs.FS, error) {
	if _, err := fs.Stat(files, "index.html"); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNotBuilt
		}
		return nil, fmt.Errorf("open the embedded viewer: %w", err)
	}
	return files, nil
}
