// Package codec turns a screen's pixels into video: a persistent picture that takes over only what changed, and
// encoders behind one small interface. It links libx264 (GPL), libvpx, libaom and libyuv (BSD) through cgo; NVIDIA's driver
// is loaded at run time by who asks for it.
package codec

// Encoder makes packets of a picture. It is for one goroutine.
type Encoder interface {
	// Encode encodes the whole picture as it stands. The packet's memory is good until the next call.
	Encode(p *Picture, o FrameOptions) (Packet, error)
	// SetRate changes quality and bit rate from the next frame on.
	SetRate(r Rate) error
	// Info says what the encoder is, for people.
	Info() Info
	Close()
}

// FrameOptions are wishes for one frame.
type FrameOptions struct {
	// Key asks for a frame that needs none before it.
	Key bool
	// QP, when above 0, is the finest quantiser (10 fine … 50 coarse) for the frame instead of the rate's. The rate may make it coarser.
	QP int
}

// Packet is one encoded frame, in order: H.264's NAL units without start codes, VP9's frame as one unit, AV1's OBUs without their sizes and without
// the temporal delimiter.
type Packet struct {
	Units [][]byte
	Key   bool
	Bytes int
	QP    int // the quantiser that it was made with
}

// Rate bounds what the encoder makes.
type Rate struct {
	// Quality is the quantiser where the rate allows it: 18 sharp, 23 usual, 28 coarse.
	Quality float64
	// Kbps is the most that goes out over time, in kilobits a second.
	Kbps int
	// BufferMS is how much of it, in milliseconds, one frame may take at once.
	BufferMS int
}

// Info names an encoder and what it makes.
type Info struct {
	Codec   string // "H264", "VP9", "AV1"
	Profile string // "constrained-baseline"
	Chroma  string // "4:2:0", "4:4:4"
	Encoder string // "x264 (software)", …
	// Hardware tells whether an encoder engine makes it, not the processor.
	Hardware bool
}
