package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"easel/integration/artist"
	"easel/integration/lossylink"
	"easel/pkg/homefiles"
)

const (
	fileBytes = 64 << 20 // more than crosses in the time
	pieceSize = 8 << 20  // as the viewer sends
)

// courier brings files of a session to and fro, as its page does: by HTTP, through the link.
type courier struct {
	page   string // http://host/s/ID
	cookie *http.Cookie
	stream *lossylink.Stream
	file   string // that is there to be had
}

// newCourier signs in at a session, and lays a file there.
func newCourier(ctx context.Context, a *artist.Artist, id string, link *lossylink.Link) (*courier, error) {
	s, err := a.Get(id)
	if err != nil {
		return nil, err
	}
	page, token, _ := strings.Cut(s.URL, "#token=")
	u, err := url.Parse(page)
	if err != nil {
		return nil, fmt.Errorf("session %s: its URL: %w", id, err)
	}
	stream, err := link.Stream(u.Host)
	if err != nil {
		return nil, err
	}
	c := &courier{page: page, stream: stream}
	text, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		return nil, err
	}
	resp, err := c.ask(ctx, http.MethodPost, "/auth", bytes.NewReader(text), "Content-Type", "application/json")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for _, cookie := range resp.Cookies() {
		c.cookie = cookie
	}
	up, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.send(ctx, up, fileBytes); err != nil {
		return nil, err
	}
	wish, err := json.Marshal(homefiles.Finish{Name: "linkbench.bin"})
	if err != nil {
		return nil, err
	}
	done, err := document[homefiles.Finished](c.ask(ctx, http.MethodPost, "/files/uploads/"+up+"/finish", bytes.NewReader(wish), "Content-Type", "application/json"))
	if err != nil {
		return nil, err
	}
	c.file = done.File.ID
	u.Host = stream.Addr() // from now on
	c.page = u.String()
	return c, nil
}

func document[D homefiles.Document](resp *http.Response, err error) (d D, _ error) {
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	return homefiles.Read[D](resp.Body, homefiles.MaxDocument)
}

func (c *courier) ask(ctx context.Context, method, path string, body io.Reader, headers ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.page+path, body)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.Header.Set("Origin", req.URL.Scheme+"://"+req.URL.Host)
	if c.cookie != nil {
		req.AddCookie(c.cookie)
	}
	if sized, ok := body.(*io.LimitedReader); ok {
		req.ContentLength = sized.N
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, text)
	}
	return resp, nil
}

func (c *courier) begin(ctx context.Context) (upload string, err error) {
	wish, err := json.Marshal(homefiles.NewUpload{Size: fileBytes})
	if err != nil {
		return "", err
	}
	u, err := document[homefiles.Upload](c.ask(ctx, http.MethodPost, "/files/uploads", bytes.NewReader(wish), "Content-Type", "application/json"))
	return u.ID, err
}

// zeros are the bytes of all files here.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// send sends an upload's bytes, piece by piece.
func (c *courier) send(ctx context.Context, upload string, size int) error {
	for at := 0; at < size; at += pieceSize {
		resp, err := c.ask(ctx, http.MethodPatch, "/files/uploads/"+upload, io.LimitReader(zeros{}, pieceSize),
			"Content-Type", "application/octet-stream", "Upload-Offset", strconv.Itoa(at))
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
	}
	return nil
}

// carry has a file cross until stop is called, which says how many kbit/s did.
func (c *courier) carry(ctx context.Context, by way) (stop func() (kbps float64, err error)) {
	ctx, cancel := context.WithCancel(ctx)
	var failed error
	var carrying sync.WaitGroup
	from, before := time.Now(), c.stream.Bytes()
	carrying.Go(func() {
		if by == upload {
			failed = c.up(ctx)
		} else {
			failed = c.down(ctx)
		}
	})
	return func() (float64, error) {
		kbps := float64(c.stream.Bytes()-before) * 8 / 1000 / time.Since(from).Seconds()
		cancel()
		carrying.Wait()
		if errors.Is(failed, context.Canceled) {
			failed = nil
		}
		return kbps, failed
	}
}

func (c *courier) down(ctx context.Context) error {
	resp, err := c.ask(ctx, http.MethodGet, "/files/content/"+c.file, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func (c *courier) up(ctx context.Context) error {
	id, err := c.begin(ctx)
	if err != nil {
		return err
	}
	err = c.send(ctx, id, fileBytes)
	// What came stays for a day if it is not cancelled.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	if resp, e := c.ask(end, http.MethodDelete, "/files/uploads/"+id, nil); e == nil {
		_ = resp.Body.Close()
	}
	return err
}
