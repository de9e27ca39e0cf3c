package gateway

import (
	"bytes"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"easel/pkg/problem"
)

// kinds are the types of the viewer's files. The host's own table is not asked: it differs from host to host.
var kinds = map[string]string{
	".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
	".woff2": "font/woff2", ".wasm": "application/wasm", ".json": "application/json", ".map": "application/json",
	".webmanifest": "application/manifest+json", ".txt": "text/plain; charset=utf-8",
}

// page serves the viewer. It holds no secret and is the same for every session, whether there is one or not.
func (g *Gateway) page(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", g.viewerPolicy())
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(g.index))
}

// viewerPolicy lets the page ask besides whether the portal is there: it goes there when this node does not answer.
func (g *Gateway) viewerPolicy() string {
	portal := g.portal()
	if portal == "" {
		return g.ViewerCSP
	}
	return strings.Replace(g.ViewerCSP, "connect-src 'self'", "connect-src 'self' "+strings.TrimSuffix(portal, "/"), 1)
}

// asset serves a file that the page names; its name changes with its content, so it may be kept for ever.
func (g *Gateway) asset(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	kind := kinds[path.Ext(name)]
	data, err := fs.ReadFile(g.Viewer, name)
	if err != nil || kind == "" {
		problem.Write(w, http.StatusNotFound, "", "the viewer has no such file: reload the page, the node may have been updated")
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", g.viewerPolicy()) // a worker's policy comes with its own script
	h.Set("Content-Type", kind)
	if strings.HasPrefix(name, "assets/") {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "public, max-age=3600")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
