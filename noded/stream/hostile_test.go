package stream

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/display"
)

// hostileX starts a worker whose X server is play, and returns how it ended, or nil if it still runs after limit.
func hostileX(t *testing.T, limit time.Duration, play func(c net.Conn)) error {
	t.Helper()
	dir, err := os.MkdirTemp("", "stream-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "X0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := io.ReadFull(c, make([]byte, 12+20+16)); err == nil {
					play(c)
				}
			}()
		}
	}()
	listenInit(t, dir).say(allRunning)
	cfg := contract.Config{
		Session: "shostile", Socket: filepath.Join(dir, "streamer.sock"), XSocket: filepath.Join(dir, "X0"), XCookie: hex.EncodeToString(make([]byte, 16)),
		EdgeDir: dir, UDPAddrs: []string{"127.0.0.1"},
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return Run(ctx, cfg, Encoding{Codecs: []Codec{testCodec{}}}, nil, slog.New(slog.DiscardHandler))
}

// setup is an honest X server's greeting: one screen of 640x480, 24 deep.
func setup() []byte {
	const vendor, formats, screen = 0, 0, 40
	b := make([]byte, 8+32+vendor+formats*8+screen)
	le := binary.LittleEndian
	b[0] = 1
	le.PutUint16(b[2:], 11)
	le.PutUint16(b[6:], uint16((len(b)-8)/4))
	le.PutUint32(b[16:], 0x1fffff)
	b[28], b[34], b[35] = 1, 8, 255 // screens, keycodes
	s := b[40:]
	le.PutUint32(s, 77)
	le.PutUint16(s[20:], 640)
	le.PutUint16(s[22:], 480)
	s[38] = 24
	return b
}

func TestXServerThatNeverAnswersEndsTheProcess(t *testing.T) {
	t.Parallel()
	err := hostileX(t, 20*time.Second, func(c net.Conn) {
		_, _ = c.Write(setup())
		_, _ = io.Copy(io.Discard, c)
	})
	if !errors.Is(err, display.ErrUnresponsive) {
		t.Fatalf("the worker ended with %v, want ErrUnresponsive", err)
	}
}

func TestXServerThatLiesIsLeftAloneAndTheWorkerGoesOn(t *testing.T) {
	t.Parallel()
	for name, play := range map[string]func(c net.Conn){
		"says nothing and hangs up": func(net.Conn) {},
		"greets with garbage":       func(c net.Conn) { _, _ = c.Write(make([]byte, 100)) },
		"floods": func(c net.Conn) {
			_, _ = c.Write(setup())
			flood := make([]byte, 32<<10)
			for i := range flood {
				flood[i] = byte(i * 7)
			}
			for {
				if _, err := c.Write(flood); err != nil {
					return
				}
			}
		},
		"promises a reply of 16 GB": func(c net.Conn) {
			_, _ = c.Write(setup())
			reply := make([]byte, 32)
			reply[0], reply[2] = 1, 1
			binary.LittleEndian.PutUint32(reply[4:], 0xffffffff)
			_, _ = c.Write(reply)
		},
		"has a screen of 65535x65535": func(c net.Conn) {
			b := setup()
			binary.LittleEndian.PutUint32(b[40+20:], 0xffffffff)
			_, _ = c.Write(b)
			_, _ = io.Copy(io.Discard, c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := hostileX(t, 1500*time.Millisecond, play); err != nil {
				t.Fatalf("the worker ended with %v", err)
			}
		})
	}
}

// BenchmarkPipeline is the way from a drawn rectangle to the last packet at a viewer, everything in between real.
func BenchmarkPipeline(b *testing.B) {
	for _, area := range []image.Rectangle{image.Rect(100, 100, 300, 300), image.Rect(0, 0, 1920, 1080)} {
		b.Run(fmt.Sprintf("%dx%d", area.Dx(), area.Dy()), func(b *testing.B) {
			s := startSession(b)
			a := newArtist(b, s.x)
			s.ready(b)
			v := connect(b, s)
			s.await(b, "a picture", func() bool { frames, _ := v.count(); return frames > 0 })
			v.say(b, `{"t":"seen","rtp":1}`)
			v.say(b, `{"t":"resize","w":1920,"h":1080}`)
			settle(b, v)
			b.ResetTimer()
			for i := range b.N {
				before, _ := v.count()
				a.fill(b, area, uint32(i+1)*0x123457&0xffffff)
				for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Microsecond) {
					if n, _ := v.count(); n > before {
						break
					}
					if time.Now().After(deadline) {
						b.Fatal("no frame came in 5 s")
					}
				}
				b.StopTimer()
				time.Sleep(20 * time.Millisecond) // past the pacing, before refinement
				b.StartTimer()
			}
		})
	}
}
