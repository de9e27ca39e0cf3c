package gpu

import (
	"regexp"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// withoutEncoder are the models that have no NVENC, by NVIDIA's "Video Encode and Decode Support Matrix": the compute cards from GA100 on.
// NVML tells too (nvmlDeviceGetEncoderCapacity), but what it says of a card whose chip family has the engine is the driver's, not the
// card's: where the two differ, none is promised.
var withoutEncoder = regexp.MustCompile(`\b(A100X?|A800|A30X?|H100|H800|H200|H20|GH200|B100|B200|B300|GB200|GB300|CMP [0-9]+HX)\b`)

// consumer are the families whose driver limits how many streams are encoded at once, by the same table.
var consumer = regexp.MustCompile(`\b(GeForce|TITAN)\b`)

const consumerSessions = 8

// HasEncoder tells whether cards of a model have NVENC at all.
func HasEncoder(model string) bool { return !withoutEncoder.MatchString(model) }

// engines says what a card encodes and decodes.
func engines(lib nvml.Interface, d nvml.Device, model string) Engines {
	e := Engines{Encode: []string{}, Decode: decoders(lib, d, model)}
	if !HasEncoder(model) {
		return e
	}
	for _, codec := range []struct {
		kind nvml.EncoderType
		name string
	}{{nvml.ENCODER_QUERY_H264, "h264"}, {nvml.ENCODER_QUERY_HEVC, "hevc"}, {nvml.ENCODER_QUERY_AV1, "av1"}} {
		if _, ret := d.GetEncoderCapacity(codec.kind); ret == nvml.SUCCESS {
			e.Encode = append(e.Encode, codec.name)
		}
	}
	if len(e.Encode) > 0 && consumer.MatchString(model) {
		e.Sessions = consumerSessions
	}
	return e
}

// decoders are those that easel could use, by the table of NVDEC's capabilities in NVIDIA's Video Codec SDK 13.0, as NVML tells only
// whether there is an engine: AV1 from GA10x and Ada on, not on GA100 and Hopper.
func decoders(lib nvml.Interface, d nvml.Device, model string) []string {
	if _, _, ret := d.GetDecoderUtilization(); ret != nvml.SUCCESS {
		return []string{}
	}
	all := []string{"h264", "hevc"}
	if !has(lib, "nvmlDeviceGetArchitecture") {
		return all
	}
	arch, ret := d.GetArchitecture()
	if ret != nvml.SUCCESS {
		return all
	}
	switch {
	case arch >= nvml.DEVICE_ARCH_BLACKWELL, arch == nvml.DEVICE_ARCH_ADA, arch == nvml.DEVICE_ARCH_AMPERE && HasEncoder(model):
		all = append(all, "av1")
	}
	return all
}
