package homefiles

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// seekPause is the time between two tries to find the rest of a file that broke off.
	seekPause = 200 * time.Millisecond
	// maxBreaks is how often one download may break off on the way from the next server.
	maxBreaks = 20
)

// Content sends a file, or a range of it, to who asks for it. about sets what else the answer says of itself. It returns how many bytes
// went, and whether those were all.
func (l Relay) Content(w http.ResponseWriter, r *http.Request, file Path, about func(http.Header)) (sent int64, whole bool) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	// Anything but one plain range means all of it (RFC 9110, 14.2).
	asked, tag := r.Header.Get("Range"), r.Header.Get("If-Range")
	if !ValidRange(asked) || tag != "" && !ValidETag(tag) {
		asked, tag = "", ""
	}
	resp, err := l.content(ctx, r.Method, file, asked, tag)
	if err != nil {
		l.Unreachable(w, err)
		return 0, false
	}
	defer func() { _ = resp.Body.Close() }()
	if l.refused(w, resp) {
		return 0, false
	}
	p, err := partOf(resp, asked)
	if err != nil {
		l.Unreachable(w, err)
		return 0, false
	}
	p.describe(w.Header())
	about(w.Header())
	w.WriteHeader(resp.StatusCode)
	if r.Method == http.MethodHead {
		return 0, true
	}
	control := http.NewResponseController(w)
	out := &outgoing{ctx: ctx, to: w, pace: l.Out, p: newPatience(control.SetWriteDeadline, cancel)}
	defer out.p.end()
	if err := control.Flush(); err != nil { // however slowly the file comes, its length is known
		return 0, false
	}
	// Where it ends too soon the server breaks the connection off, as the length was said: nobody takes a part for the whole.
	sent = l.send(ctx, out, file, p, resp.Body)
	return sent, sent == p.bytes()
}

// content asks the next server for a file, or a range of it.
func (l Relay) content(ctx context.Context, method string, file Path, asked, tag string) (*http.Response, error) {
	req, err := l.request(ctx, method, "/content/"+file.ID(), nil, nil)
	if err != nil {
		return nil, err
	}
	if asked != "" {
		req.Header.Set("Range", asked)
	}
	if tag != "" {
		req.Header.Set("If-Range", tag)
	}
	return l.do(req, IdleTime)
}

// send sends a part of a file that has begun to come. Where the next server breaks it off, as one that is killed does, the rest is sought there: who
// downloads notices nothing but a pause.
func (l Relay) send(ctx context.Context, out *outgoing, file Path, p part, body io.ReadCloser) (sent int64) {
	buf := make([]byte, copyBuffer)
	for range maxBreaks {
		n, _ := io.CopyBuffer(out, io.LimitReader(body, p.bytes()-sent), buf)
		_ = body.Close()
		sent += n
		if sent == p.bytes() || out.err != nil || ctx.Err() != nil || l.BrokeOff == nil {
			break
		}
		resp, err := l.seek(ctx, file, p.from(sent), l.BrokeOff(p.first+sent))
		if err != nil {
			break
		}
		body = resp.Body
	}
	return sent
}

// seek asks for a part again until it comes, and only for what is the same file still.
func (l Relay) seek(ctx context.Context, file Path, p part, patience time.Duration) (*http.Response, error) {
	asked := fmt.Sprintf("bytes=%d-%d", p.first, p.last)
	for end := time.Now().Add(patience); ; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(seekPause):
		}
		resp, err := l.content(ctx, http.MethodGet, file, asked, p.tag)
		if err == nil {
			var got part
			if got, err = partOf(resp, asked); err == nil && got == p {
				return resp, nil
			}
			_ = resp.Body.Close()
			if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
				return nil, errors.New("the file is another one now, or gone")
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the rest of the file did not come within %s: %w", patience, err)
		}
	}
}

// part is what an answer has of a file.
type part struct {
	first, last, total int64 // of nothing, last is before first
	tag                string
	whole              bool // nothing else was asked for
}

func (p part) bytes() int64 { return p.last - p.first + 1 }

// from is what is left of it after some bytes.
func (p part) from(sent int64) part {
	p.first, p.whole = p.first+sent, false
	return p
}

// describe has an answer say that it is that part.
func (p part) describe(h http.Header) {
	if !p.whole {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", p.first, p.last, p.total))
	}
	h.Set("Content-Length", strconv.FormatInt(p.bytes(), 10))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Etag", p.tag)
}

var contentRange = regexp.MustCompile(`^bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})$`)

// partOf is what an answer with content says that it is, seen to fit together and what was asked.
func partOf(resp *http.Response, asked string) (part, error) {
	tag := resp.Header.Get("Etag")
	if resp.ContentLength < 0 || resp.ContentLength > MaxSize || !ValidETag(tag) {
		return part{}, errors.New("it sends a file of no length, or of no state")
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return part{first: 0, last: resp.ContentLength - 1, total: resp.ContentLength, tag: tag, whole: true}, nil
	case http.StatusPartialContent:
		m := contentRange.FindStringSubmatch(resp.Header.Get("Content-Range"))
		if asked == "" || m == nil {
			return part{}, errors.New("it sends a part where the whole was asked for")
		}
		p := part{first: number(m[1]), last: number(m[2]), total: number(m[3]), tag: tag}
		if p.first > p.last || p.last >= p.total || p.bytes() != resp.ContentLength || !fits(asked, p.first, p.last, p.total) {
			return part{}, fmt.Errorf("asked for %s it sends %s in %d bytes", asked, m[0], resp.ContentLength)
		}
		return p, nil
	}
	return part{}, fmt.Errorf("it answers with status %d", resp.StatusCode)
}

// fits tells whether first to last of total bytes is what asked, a valid range, means.
func fits(asked string, first, last, total int64) bool {
	m := byteRange.FindStringSubmatch(asked)
	if m == nil {
		return false
	}
	from, to, _ := strings.Cut(m[1], "-")
	switch {
	case from == "":
		return last == total-1 && last-first+1 == min(number(to), total)
	case to == "":
		return first == number(from) && last == total-1
	}
	return first == number(from) && last == min(number(to), total-1)
}

// number reads digits that a pattern has bounded.
func number(digits string) int64 {
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}
