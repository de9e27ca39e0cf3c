package rtpsend

import (
	"io"
	"sync"

	"github.com/pion/transport/v5/packetio"
)

// maxStreams is for how many streams a viewer may send: each takes memory of pion's.
const maxStreams = 64

// Reports is where pion puts the packets that come in by SRTP and SRTCP: reports are taken up at once, for whichever of our streams they are (feedback names the
// stream of the last packet that came, which may be one sent again), and media, which no viewer sends, is left.
type Reports struct {
	Take  func(b []byte)
	Flood func() // the viewer names more streams than there are

	mu      sync.Mutex
	streams int
}

// Open is pion's buffer factory.
func (r *Reports) Open(kind packetio.BufferPacketType, _ uint32) io.ReadWriteCloser {
	r.mu.Lock()
	r.streams++
	over := r.streams == maxStreams
	r.mu.Unlock()
	if over {
		r.Flood()
	}
	s := &reportStream{closed: make(chan struct{})}
	if kind == packetio.RTCPBufferPacket {
		s.take = r.Take
	}
	return s
}

// reportStream is one stream's: what is written is taken up, and there is nothing to read.
type reportStream struct {
	take   func(b []byte)
	closed chan struct{}
	once   sync.Once
}

func (s *reportStream) Write(b []byte) (int, error) {
	if s.take != nil {
		s.take(b)
	}
	return len(b), nil
}

func (s *reportStream) Read([]byte) (int, error) {
	<-s.closed
	return 0, io.EOF
}

func (s *reportStream) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
