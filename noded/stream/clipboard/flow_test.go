package clipboard

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"easel/noded/stream/contract"
	"easel/pkg/display"

	"github.com/pion/datachannel"
	"github.com/pion/webrtc/v4"
)

const deadline = time.Minute

// largest is a picture as large as may cross.
func largest() []byte { return pictureOf(display.ClipPNG.Limit()) }

// pictureOf is a picture of so many bytes, though there is nothing in it.
func pictureOf(bytes int) []byte {
	b := make([]byte, bytes)
	copy(b, "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR")
	binary.BigEndian.PutUint32(b[16:], 4000)
	binary.BigEndian.PutUint32(b[20:], 4000)
	return b
}

// program is an application of the session's, which has a picture on the clipboard, and takes what a viewer puts there.
type program struct {
	picture []byte
	changed chan struct{}
	offered chan display.Source
	turns   chan turn
}

// turn is a question whether a program has taken what it was given.
type turn struct {
	asked context.Context
	taken chan error
}

// follow has a clipboard follow a program until the test ends.
func follow(t testing.TB, picture []byte) (*Clipboard, *program) {
	t.Helper()
	p := &program{picture: picture, changed: make(chan struct{}, 1), offered: make(chan display.Source, 1), turns: make(chan turn)}
	c := New(contract.Policy{}, func(bool, display.Format, int) {}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, p) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return c, p
}

func (p *program) Done() <-chan struct{}    { return nil }
func (p *program) Changed() <-chan struct{} { return p.changed }
func (p *program) Formats(context.Context) (display.Formats, error) {
	return display.FormatsOf(display.ClipPNG), nil
}

func (p *program) Read(_ context.Context, _ display.Format, take func([]byte) error) error {
	piece := make([]byte, 256<<10) // as X hands it over
	for b := p.picture; len(b) > 0; {
		n := copy(piece, b)
		b = b[n:]
		if err := take(piece[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) Own(_ context.Context, formats display.Formats, source display.Source) error {
	if formats != 0 {
		p.offered <- source
	}
	return nil
}

func (p *program) Taken(ctx context.Context) error {
	t := turn{ctx, make(chan error, 1)}
	select {
	case p.turns <- t:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-t.taken:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn is the next question.
func (p *program) turn(t *testing.T) turn {
	t.Helper()
	select {
	case next := <-p.turns:
		return next
	case <-time.After(deadline):
		t.Fatal("nobody asks whether the program has taken what it was given")
		return turn{}
	}
}

// page is a viewer's end of the channel, over a real connection. It reads when it is asked to.
type page struct {
	flow    *Flow
	hand    atomic.Bool
	channel datachannel.ReadWriteCloser
	buf     []byte
}

// join connects a viewer.
func join(t testing.TB, c *Clipboard) *page {
	t.Helper()
	node, err := connection(t, func(*webrtc.SettingEngine) {})
	if err != nil {
		t.Fatal(err)
	}
	browser, err := connection(t, func(s *webrtc.SettingEngine) { s.DetachDataChannels() })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &page{buf: make([]byte, 2*MaxMessage)}
	p.hand.Store(true)
	v := Viewer{Refuse: func(err error) { t.Errorf("refused: %v", err) }, May: p.hand.Load, Window: func() int { return maxWindow }, Keyed: func() error { return nil }}
	p.flow = c.NewFlow(ctx, v, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { // before the connections end
		cancel()
		p.flow.Close()
	})
	node.OnDataChannel(p.flow.Open)
	d, err := browser.CreateDataChannel("clipboard", nil)
	if err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{})
	d.OnOpen(func() {
		if p.channel, err = d.Detach(); err != nil {
			t.Error(err)
		}
		close(opened)
	})
	if err := agree(browser, node); err != nil {
		t.Fatal(err)
	}
	select {
	case <-opened:
	case <-time.After(deadline):
		t.Fatal("the channel did not open")
	}
	return p
}

func connection(t testing.TB, set func(*webrtc.SettingEngine)) (*webrtc.PeerConnection, error) {
	s := webrtc.SettingEngine{}
	s.SetIncludeLoopbackCandidate(true)
	set(&s)
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	if err == nil {
		t.Cleanup(func() { _ = pc.Close() })
	}
	return pc, err
}

// agree connects two peers.
func agree(from, to *webrtc.PeerConnection) error {
	offer, err := from.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(from)
	if err := from.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered
	if err := to.SetRemoteDescription(*from.LocalDescription()); err != nil {
		return err
	}
	answer, err := to.CreateAnswer(nil)
	if err != nil {
		return err
	}
	gathered = webrtc.GatheringCompletePromise(to)
	if err := to.SetLocalDescription(answer); err != nil {
		return err
	}
	<-gathered
	return from.SetRemoteDescription(*to.LocalDescription())
}

func (p *page) say(t testing.TB, m Message) {
	t.Helper()
	if _, err := p.channel.Write(m.Append(nil)); err != nil {
		t.Fatal(err)
	}
}

// hear reads messages until one of a kind; it returns that one, and how many bytes of contents came before it.
func (p *page) hear(t testing.TB, kind uint8) (m Message, contents int) {
	t.Helper()
	for {
		n, err := p.channel.Read(p.buf)
		if err != nil {
			t.Fatalf("wait for a message of kind %d: %v", kind, err)
		}
		m = Message{Kind: p.buf[0], What: p.buf[1], How: p.buf[2], Number: p.buf[3], Serial: binary.LittleEndian.Uint32(p.buf[4:])}
		if m.Kind == kind {
			return m, contents
		}
		if m.Kind == Data {
			contents += n - HeaderBytes
		}
	}
}

// fetch begins to fetch the picture that the session offers.
func (p *page) fetch(t testing.TB) {
	t.Helper()
	offer, _ := p.hear(t, Offer)
	p.say(t, Message{Kind: Fetch, What: uint8(display.ClipPNG), Serial: offer.Serial})
}

// over waits until nothing is on its way to a viewer any more.
func (p *page) over(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(deadline); ; time.Sleep(5 * time.Millisecond) {
		p.flow.mu.Lock()
		n := len(p.flow.sending)
		p.flow.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("something is on its way to the viewer still")
		}
	}
}

// unreadable is more bytes than a channel holds of what nobody reads.
const unreadable = 4 << 20

// A viewer that fetches and never reads is given up; meanwhile no more waits for it than may, and another has what it wants.
func TestViewerThatNeverReadsWhatItFetched(t *testing.T) {
	t.Parallel() // it waits for readingTime
	c, program := follow(t, pictureOf(unreadable))
	slow, other := join(t, c), join(t, c)
	slow.hear(t, Ways)
	other.hear(t, Ways)
	program.changed <- struct{}{}
	slow.fetch(t)
	other.fetch(t)
	if end, n := other.hear(t, End); end.How != Whole || n != unreadable {
		t.Errorf("beside one that does not read, another viewer got %d bytes, outcome %d", n, end.How)
	}
	slow.over(t)
	if n := slow.flow.channel.Load().BufferedAmount(); n > maxUnread {
		t.Errorf("%d bytes wait for the viewer, want %d at most", n, maxUnread)
	}
	if n := len(c.reads); n != 0 {
		t.Errorf("%d contents are kept", n)
	}
	if end, n := slow.hear(t, End); end.How != Late || n >= unreadable {
		t.Errorf("it was told outcome %d after %d bytes", end.How, n)
	}
}

// What is on its way to a viewer ends when the operator closes the way, or it loses the hand.
func TestContentOnItsWayIsEnded(t *testing.T) {
	for name, end := range map[string]func(c *Clipboard, p *page){
		"by policy": func(c *Clipboard, _ *page) {
			c.SetPolicy(t.Context(), contract.Policy{Clipboard: contract.ClipboardIn})
		},
		"by the hand": func(c *Clipboard, p *page) { p.hand.Store(false); c.Look(t.Context(), p.flow) },
	} {
		t.Run(name, func(t *testing.T) {
			c, program := follow(t, pictureOf(unreadable))
			p := join(t, c)
			p.hear(t, Ways)
			program.changed <- struct{}{}
			p.fetch(t)
			p.hear(t, Data) // and nothing more is read
			end(c, p)
			p.over(t)
			if end, n := p.hear(t, End); end.How != Refused || n >= unreadable {
				t.Errorf("it was told outcome %d after %d bytes", end.How, n)
			}
		})
	}
}

// offers puts a text on the session's clipboard, from where an application fetches it.
func (p *page) offers(t *testing.T, of *program) display.Source {
	t.Helper()
	p.hear(t, Ways)
	p.say(t, Message{Kind: Offer, What: uint8(display.FormatsOf(display.ClipText)), Serial: 1})
	select {
	case source := <-of.offered:
		return source
	case <-time.After(deadline):
		t.Fatal("the offer did not come")
		return nil
	}
}

// asks has an application ask for a text, and returns it with what the viewer hears of that.
func (p *page) asks(t *testing.T, source display.Source) (io.ReadCloser, Message) {
	t.Helper()
	r, err := source.Fetch(t.Context(), display.ClipText)
	if err != nil {
		t.Fatal(err)
	}
	fetch, _ := p.hear(t, Fetch)
	return r, fetch
}

// sends sends parts of a text.
func (p *page) sends(t *testing.T, number uint8, parts ...string) {
	t.Helper()
	for _, part := range parts {
		p.say(t, Message{Kind: Data, What: uint8(display.ClipText), Number: number, Serial: 1, Data: []byte(part)})
	}
}

// A content that is stopped and asked for again within a round trip gets nothing of what is on its way still; what belongs to a fetch says which, but for a
// page that is older than that.
func TestContentAskedForAgainGetsNothingOfTheOneBefore(t *testing.T) {
	for name, old := range map[string]bool{"a page that numbers": false, "an older page": true} {
		t.Run(name, func(t *testing.T) {
			c, program := follow(t, nil)
			p := join(t, c)
			source := p.offers(t, program)
			r, first := p.asks(t, source)
			p.sends(t, first.Number, "fir")
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if stop, _ := p.hear(t, Stop); stop.Number != first.Number || first.Number == 0 {
				t.Errorf("fetch %d was stopped as %d", first.Number, stop.Number)
			}
			r, second := p.asks(t, source)
			if second.Number == first.Number {
				t.Errorf("both fetches have number %d", first.Number)
			}
			if old {
				second.Number = 0
			} else {
				p.sends(t, first.Number, "st")
				p.say(t, Message{Kind: End, What: uint8(display.ClipText), Number: first.Number, Serial: 1})
			}
			p.sends(t, second.Number, "sec", "ond")
			p.say(t, Message{Kind: End, What: uint8(display.ClipText), Number: second.Number, Serial: 1})
			if got, err := io.ReadAll(r); err != nil || string(got) != "second" {
				t.Errorf("it is %q, %v", got, err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if has, _ := p.hear(t, Has); has.Format() != display.ClipText || has.Serial != 1 {
				t.Errorf("the viewer hears %+v of it", has)
			}
			for range 3 { // and once, however often somebody asks
				source.Asked()
				if r, err := source.Fetch(t.Context(), display.ClipText); err != nil {
					t.Error(err)
				} else if got, err := io.ReadAll(r); err != nil || string(got) != "second" || r.Close() != nil {
					t.Errorf("another time it is %q, %v", got, err)
				}
			}
			p.say(t, Message{Kind: Offer, Serial: 2})
			for told := []uint8{}; ; {
				n, err := p.channel.Read(p.buf)
				if err != nil || n < HeaderBytes {
					t.Fatalf("%d bytes, %v", n, err)
				}
				told = append(told, p.buf[0])
				if p.buf[0] != Taken {
					continue
				}
				if want := []uint8{Asked, Taken}; !slices.Equal(told, want) {
					t.Errorf("the viewer hears messages of kinds %v, want %v", told, want)
				}
				break
			}
		})
	}
}

// A viewer whose hand presses a key that pastes is told when that is done: of the last such key, where what is pasted is the viewer's, and where it is known.
func TestViewerIsToldWhenItsKeyHasPasted(t *testing.T) {
	c, program := follow(t, nil)
	p := join(t, c)
	v := display.Key{Sym: 0x76, Code: 47}
	p.flow.Pressed(v, 1) // what is there is not the viewer's
	p.offers(t, program)
	p.hear(t, Taken)
	p.flow.Pressed(display.Key{Sym: 0x78, Code: 45}, 2) // x
	p.flow.Pressed(v, 3)
	program.turn(t).taken <- io.ErrUnexpectedEOF
	p.flow.Pressed(v, 4)
	before := program.turn(t)
	p.flow.Pressed(display.Key{Sym: 0xff63, Code: 110}, 5)
	select {
	case <-before.asked.Done():
	case <-time.After(deadline):
		t.Error("the key before is waited for still")
	}
	program.turn(t).taken <- nil
	if past, _ := p.hear(t, Past); past.Serial != 5 {
		t.Errorf("the viewer is told of key %d", past.Serial)
	}
}

// A viewer that fetches a content again has the one before ended, and can tell the two apart.
func TestViewerFetchesAgainWithoutTheOneBefore(t *testing.T) {
	c, program := follow(t, pictureOf(unreadable))
	p := join(t, c)
	p.hear(t, Ways)
	program.changed <- struct{}{}
	offer, _ := p.hear(t, Offer)
	for number := range uint8(3) {
		p.say(t, Message{Kind: Fetch, What: uint8(display.ClipPNG), Number: number + 1, Serial: offer.Serial})
	}
	bytes := map[uint8]int{}
	for ended := 0; ended < 3; {
		n, err := p.channel.Read(p.buf)
		if err != nil {
			t.Fatal(err)
		}
		switch number := p.buf[3]; p.buf[0] {
		case Data:
			bytes[number] += n - HeaderBytes
		case End:
			ended++
			if whole := p.buf[2] == Whole && bytes[number] == unreadable; whole != (number == 3) {
				t.Errorf("fetch %d ended with outcome %d after %d bytes", number, p.buf[2], bytes[number])
			}
		}
	}
	p.over(t)
}

// A session that copies without end is heard five times a second.
func TestFloodOfCopiesIsOfferedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, program := follow(t, pictureOf(unreadable))
		const flood = 3 * time.Second
		for began := time.Now(); time.Since(began) < flood; time.Sleep(100 * time.Microsecond) {
			select {
			case program.changed <- struct{}{}:
			default:
			}
		}
		synctest.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		if n, most := c.serial, uint32(flood/offerPause)+1; n == 0 || n > most {
			t.Errorf("%d offers in %v, want %d at most", n, flood, most)
		}
	})
}

// measure runs a transfer as often as the benchmark wants, and reports what memory it held at most beside what there was.
func measure(b *testing.B, transfer func()) {
	b.Helper()
	b.SetBytes(int64(display.ClipPNG.Limit()))
	b.ReportAllocs()
	peak := watchHeap()
	b.ResetTimer()
	for range b.N {
		transfer()
	}
	b.StopTimer()
	b.ReportMetric(float64(peak())/(1<<20), "peak-MiB")
}

// A picture as large as may cross, to a viewer and from one, over loopback; both ends of the connection are in it.
func BenchmarkLargestPictureOut(b *testing.B) {
	c, program := follow(b, largest())
	p := join(b, c)
	p.hear(b, Ways)
	p.flow.limit.SetLimit(1e6)
	measure(b, func() {
		program.changed <- struct{}{}
		p.fetch(b)
		if end, n := p.hear(b, End); end.How != Whole || n != display.ClipPNG.Limit() {
			b.Fatalf("%d bytes, outcome %d", n, end.How)
		}
	})
}

func BenchmarkLargestPictureIn(b *testing.B) {
	c, program := follow(b, nil)
	p := join(b, c)
	p.hear(b, Ways)
	p.flow.limit.SetLimit(1e6)
	content, serial := largest(), uint32(0)
	measure(b, func() {
		serial++
		p.say(b, Message{Kind: Offer, What: uint8(display.FormatsOf(display.ClipPNG)), Serial: serial})
		r, err := (<-program.offered).Fetch(b.Context(), display.ClipPNG)
		if err != nil {
			b.Fatal(err)
		}
		ended := make(chan int64, 1)
		go func() {
			n, _ := io.Copy(io.Discard, r)
			_ = r.Close()
			ended <- n
		}()
		p.hear(b, Fetch)
		for left := content; len(left) > 0; left = left[min(len(left), MaxMessage-HeaderBytes):] {
			p.say(b, Message{Kind: Data, What: uint8(display.ClipPNG), Serial: serial, Data: left[:min(len(left), MaxMessage-HeaderBytes)]})
		}
		p.say(b, Message{Kind: End, What: uint8(display.ClipPNG), Serial: serial})
		if n := <-ended; n != int64(len(content)) {
			b.Fatalf("%d bytes", n)
		}
	})
}

// heap is how many bytes the living and not yet collected objects take.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// watchHeap looks at how large the heap is; the returned function ends that, and tells how much it grew at most.
func watchHeap() func() uint64 {
	var most atomic.Uint64
	stop, ended := make(chan struct{}), make(chan struct{})
	first := heap()
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				most.Store(max(most.Load(), heap()))
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-ended
		return max(most.Load(), first) - first
	}
}
