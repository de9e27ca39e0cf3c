package codec

// #include <stdlib.h>
// #include "nvenc.h"
import "C"

import (
	"errors"
	"fmt"
	"image"
	"path/filepath"
	"time"
	"unsafe"
)

// Why NVENC does not serve. Errors of this package are one of them, or ErrHung, by errors.Is.
var (
	ErrNoDriver  = errors.New("no driver")
	ErrNoDevice  = errors.New("no such device")
	ErrNoEngine  = errors.New("no encoder engine")
	ErrNoSession = errors.New("no encoder session is free")
	ErrUnfit     = errors.New("the encoder does not take such a picture")
	ErrDriver    = errors.New("the driver failed")
)

var nvencErrors = map[C.int]error{
	C.NVENC_ABSENT: ErrNoDriver, C.NVENC_NO_DEVICE: ErrNoDevice, C.NVENC_NO_ENGINE: ErrNoEngine,
	C.NVENC_NO_SESSION: ErrNoSession, C.NVENC_UNFIT: ErrUnfit, C.NVENC_FAILED: ErrDriver,
}

// nvencError is what the driver says, of a kind.
type nvencError struct {
	kind error
	text string
}

func (e *nvencError) Error() string { return e.text }
func (e *nvencError) Unwrap() error { return e.kind }

func nvencFailure(status C.int, e *C.struct_nvenc_error) error {
	if status == C.NVENC_OK {
		return nil
	}
	return &nvencError{nvencErrors[status], C.GoString(&e.text[0])}
}

// frameLimit is how long a frame may take before the driver counts as hung: a picture that stands still longer is a stream that froze.
const frameLimit = time.Second

// How many times longer other things may take: a card that slept has to wake, and a session is made of memory.
const (
	deviceFactor  = 20
	sessionFactor = 3
)

// NVENCOptions say which device encodes.
type NVENCOptions struct {
	// Device is a card ("GPU-…") or a MIG device ("MIG-…") by UUID. A process has one device: CUDA shows it no other afterwards.
	Device string
	// Libraries is the folder of libcuda.so.1 and libnvidia-encode.so.1; "" leaves it to the loader.
	Libraries string
	// FrameLimit is how long a frame may take, 0 for a second.
	FrameLimit time.Duration
}

// NVENC is the encoder engine of one NVIDIA device.
type NVENC struct {
	thread *driverThread
	limit  time.Duration
	c      *C.struct_nvenc_device
	name   string
}

// NVENCCapabilities are what a device's encoder says of itself.
type NVENCCapabilities struct {
	Codecs   []string    // "H264", "HEVC", "AV1"
	Chroma   []Chroma    // of H.264
	Min, Max image.Point // size of a picture of H.264
}

// OpenNVENC loads NVIDIA's driver and takes hold of the device. Nothing of it is linked: a machine without the driver gets ErrNoDriver.
func OpenNVENC(o NVENCOptions) (*NVENC, error) {
	n := &NVENC{thread: startDriverThread(), limit: o.FrameLimit}
	if n.limit == 0 {
		n.limit = frameLimit
	}
	cuda, encode, device := C.CString(library(o.Libraries, "libcuda.so.1")), C.CString(library(o.Libraries, "libnvidia-encode.so.1")), C.CString(o.Device)
	free := func() {
		for _, s := range []*C.char{cuda, encode, device} {
			C.free(unsafe.Pointer(s))
		}
	}
	err := n.call("open", deviceFactor, func() error {
		defer free()
		var e C.struct_nvenc_error
		status := C.nvenc_open_device(cuda, encode, device, &n.c, &e)
		return nvencFailure(status, &e)
	})
	if err != nil {
		n.thread.end()
		return nil, fmt.Errorf("open NVENC on %s: %w", o.Device, err)
	}
	n.name = C.GoString(C.nvenc_device_name(n.c))
	return n, nil
}

func library(folder, name string) string {
	if folder == "" {
		return name
	}
	return filepath.Join(folder, name)
}

// call makes one call on the driver's thread that is not a frame.
func (n *NVENC) call(doing string, factor time.Duration, do func() error) error {
	var failed error
	if err := n.thread.run(newDriverCall(func() { failed = do() }), doing, factor*n.limit); err != nil {
		return err
	}
	return failed
}

// Name is the device's, for people.
func (n *NVENC) Name() string { return n.name }

// Capabilities asks the device. It takes a session for a moment.
func (n *NVENC) Capabilities() (NVENCCapabilities, error) {
	var caps C.struct_nvenc_caps
	err := n.call("ask", sessionFactor, func() error {
		var e C.struct_nvenc_error
		status := C.nvenc_caps(n.c, &caps, &e)
		return nvencFailure(status, &e)
	})
	if err != nil {
		return NVENCCapabilities{}, fmt.Errorf("ask %s what it encodes: %w", n.name, err)
	}
	out := NVENCCapabilities{
		Chroma: []Chroma{Chroma420},
		Min:    image.Pt(int(caps.min_width), int(caps.min_height)), Max: image.Pt(int(caps.max_width), int(caps.max_height)),
	}
	if caps.yuv444 != 0 {
		out.Chroma = append(out.Chroma, Chroma444)
	}
	for _, c := range []struct {
		name string
		has  C.int
	}{{"H264", caps.h264}, {"HEVC", caps.hevc}, {"AV1", caps.av1}} {
		if c.has != 0 {
			out.Codecs = append(out.Codecs, c.name)
		}
	}
	return out, nil
}

// Close lets the device go. Its encoders must be closed before.
func (n *NVENC) Close() {
	_ = n.call("close", sessionFactor, func() error { C.nvenc_close_device(n.c); return nil }) // what hangs stays
	n.thread.end()
}

// nvenc is one session of the engine.
type nvenc struct {
	device  *NVENC
	c       *C.struct_nvenc_encoder
	size    image.Point
	colours Colours
	gov     governor
	nals    [][]byte

	// A frame's call, made once so that frames need no heap, with what goes in and out. While it runs it is the thread's.
	frame   *driverCall
	key, qp C.int
	out     C.struct_nvenc_frame
	status  C.int
	failure C.struct_nvenc_error
}

// NewEncoder opens a low-latency H.264 encoder for pictures of one size and colours. The device may have no session left for it: ErrNoSession.
func (n *NVENC) NewEncoder(width, height int, colours Colours, r Rate) (Encoder, error) {
	if err := r.validate(); err != nil {
		return nil, fmt.Errorf("open NVENC: %w", err)
	}
	e := &nvenc{device: n, size: image.Pt(width, height), colours: colours, gov: newGovernor(r), nals: make([][]byte, 0, 32)}
	e.frame = newDriverCall(e.encode)
	full, whole := colours.flags()
	err := n.call("open a session", sessionFactor, func() error {
		var fail C.struct_nvenc_error
		status := C.nvenc_open(n.c, C.int(width), C.int(height), full, whole, C.int(r.Quality), &e.c, &fail)
		return nvencFailure(status, &fail)
	})
	if err != nil {
		return nil, fmt.Errorf("open NVENC for %dx%d of %s: %w", width, height, colours.Chroma, err)
	}
	return e, nil
}

// encode is the call, on the driver's thread.
func (e *nvenc) encode() {
	e.status = C.nvenc_encode(e.c, e.frame.reads.c, e.key, e.qp, &e.out, &e.failure)
}

func (e *nvenc) Encode(p *Picture, o FrameOptions) (Packet, error) {
	if p.size != e.size || p.colours != e.colours {
		return Packet{}, fmt.Errorf("encode: the picture is %v of %+v, the encoder's %v of %+v", p.size, p.colours, e.size, e.colours)
	}
	if err := e.device.thread.alive(); err != nil {
		return Packet{}, fmt.Errorf("encode a frame by NVENC: %w", err)
	}
	now := time.Now()
	k, detail, fine := e.gov.frame(p, o)
	qp := e.gov.choose(k, detail, fine, now)
	e.frame.reads, e.qp, e.key = p, C.int(qp), 0
	if o.Key {
		e.key = 1
	}
	if err := e.device.thread.run(e.frame, "encode a frame by NVENC", e.device.limit); err != nil {
		return Packet{}, err
	}
	if err := nvencFailure(e.status, &e.failure); err != nil {
		return Packet{}, err
	}
	n := int(e.out.size)
	e.gov.learn(k, detail, qp, n, now)
	e.nals = splitAnnexB(e.nals[:0], unsafe.Slice((*byte)(unsafe.Pointer(e.out.data)), n))
	if len(e.nals) == 0 {
		return Packet{}, fmt.Errorf("encode: NVENC made no frame of %d bytes: %w", n, ErrDriver)
	}
	return Packet{Units: e.nals, Key: e.out.key != 0, Bytes: n, QP: qp}, nil
}

func (e *nvenc) SetRate(r Rate) error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("set NVENC's rate: %w", err)
	}
	e.gov.rate = r // which chooses each frame's quantiser, and the session is retuned where that changes
	return nil
}

func (e *nvenc) Info() Info {
	return Info{Codec: "H264", Profile: h264Profile(e.colours.Chroma), Chroma: string(e.colours.Chroma), Encoder: "NVENC (" + e.device.name + ")", Hardware: true}
}

func (e *nvenc) Close() {
	_ = e.device.call("close a session", 1, func() error { C.nvenc_close(e.c); return nil }) // what hangs stays
}
