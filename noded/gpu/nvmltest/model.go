package nvmltest

import (
	"maps"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/gpus"
)

// Model is a kind of card: go-nvml's data of it, and what that lacks.
type Model struct {
	gpus.Config
	Slices int         // compute slices of MIG; 0 for a card without
	IDs    map[int]int // of GPU instance profiles, by NVML's constant
	Encode []string    // what NVENC can make
}

// A100 is the 40 GB card of SXM servers; no encoder.
func A100() Model {
	m := sevenths(gpus.A100_SXM4_40GB)
	m.Name = "NVIDIA A100-SXM4-40GB" // the mock calls itself one
	return m
}

// H100 is the 80 GB card of SXM servers; no encoder.
func H100() Model { return sevenths(gpus.H100_SXM5_80GB) }

// H200 has no encoder either.
func H200() Model { return sevenths(gpus.H200_SXM5_141GB) }

// B200 has no encoder either.
func B200() Model { return sevenths(gpus.B200_SXM5_180GB) }

// L40S has encoders and no MIG.
func L40S() Model {
	return Model{
		Config: gpus.Config{
			Name: "NVIDIA L40S", Architecture: nvml.DEVICE_ARCH_ADA, Brand: nvml.BRAND_NVIDIA, MemoryMB: 46068,
			CudaMajor: 8, CudaMinor: 9, PciDeviceId: 0x26B910DE,
		},
		Encode: []string{"h264", "hevc", "av1"},
	}
}

// RTXPro6000 is the Blackwell Server Edition, which has both.
func RTXPro6000() Model {
	gi := map[int]nvml.GpuInstanceProfileInfo{}
	places := map[int][]nvml.GpuInstancePlacement{}
	ci, ciPlaces := map[int]map[int]nvml.ComputeInstanceProfileInfo{}, map[int]map[int][]nvml.ComputeInstancePlacement{}
	for _, p := range []struct{ profile, compute, slices, count int }{
		{nvml.GPU_INSTANCE_PROFILE_1_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE, 1, 4},
		{nvml.GPU_INSTANCE_PROFILE_1_SLICE_GFX, nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE, 1, 4},
		{nvml.GPU_INSTANCE_PROFILE_2_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE, 2, 2},
		{nvml.GPU_INSTANCE_PROFILE_2_SLICE_GFX, nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE, 2, 2},
		{nvml.GPU_INSTANCE_PROFILE_4_SLICE, nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE, 4, 1},
		{nvml.GPU_INSTANCE_PROFILE_4_SLICE_GFX, nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE, 4, 1},
	} {
		n := uint32(p.slices)
		gi[p.profile] = nvml.GpuInstanceProfileInfo{
			Id: uint32(p.profile), SliceCount: n, InstanceCount: uint32(p.count), MultiprocessorCount: 46 * n, CopyEngineCount: n,
			DecoderCount: n, EncoderCount: n, JpegCount: n, OfaCount: 1, MemorySizeMB: 24192 * uint64(n),
		}
		for start := 0; start < 4; start += p.slices {
			places[p.profile] = append(places[p.profile], nvml.GpuInstancePlacement{Start: uint32(start), Size: n})
		}
		ci[p.profile] = map[int]nvml.ComputeInstanceProfileInfo{
			p.compute: {Id: uint32(p.compute), SliceCount: n, InstanceCount: 1, MultiprocessorCount: 46 * n},
		}
		ciPlaces[p.profile] = map[int][]nvml.ComputeInstancePlacement{p.compute: {{Start: 0, Size: n}}}
	}
	return Model{
		Config: gpus.Config{
			Name: "NVIDIA RTX PRO 6000 Blackwell Server Edition", Architecture: nvml.DEVICE_ARCH_BLACKWELL, Brand: nvml.BRAND_NVIDIA_RTX,
			MemoryMB: 97887, CudaMajor: 12, CudaMinor: 0, PciDeviceId: 0x2BB510DE,
			MIGProfiles: gpus.MIGProfileConfig{
				GpuInstanceProfiles: gi, ComputeInstanceProfiles: ci, GpuInstancePlacements: places, ComputeInstancePlacements: ciPlaces,
			},
		},
		Slices: 4,
		IDs: map[int]int{
			nvml.GPU_INSTANCE_PROFILE_1_SLICE: 14, nvml.GPU_INSTANCE_PROFILE_2_SLICE: 5, nvml.GPU_INSTANCE_PROFILE_4_SLICE: 0,
			nvml.GPU_INSTANCE_PROFILE_1_SLICE_GFX: 47, nvml.GPU_INSTANCE_PROFILE_2_SLICE_GFX: 35, nvml.GPU_INSTANCE_PROFILE_4_SLICE_GFX: 32,
		},
		Encode: []string{"h264", "hevc", "av1"},
	}
}

// sevenths is a card of seven compute and eight memory slices. go-nvml's data has instances as large as their compute slices; on the
// cards an instance of three takes four memory slices, of seven all eight, and of one with twice the memory two (nvidia-smi mig
// -lgipp, as NVIDIA's MIG user guide prints it); it has no places for the A100's compute instances. Its sizes of memory are those of the
// names, of which the driver keeps some: by them an H200 would have 1g.35gb twice. Nor have these cards the encoders that it gives the B200.
func sevenths(c gpus.Config) Model {
	m := c.MIGProfiles
	m.GpuInstancePlacements = maps.Clone(m.GpuInstancePlacements)
	m.GpuInstancePlacements[nvml.GPU_INSTANCE_PROFILE_3_SLICE] = []nvml.GpuInstancePlacement{{Start: 0, Size: 4}, {Start: 4, Size: 4}}
	m.GpuInstancePlacements[nvml.GPU_INSTANCE_PROFILE_7_SLICE] = []nvml.GpuInstancePlacement{{Start: 0, Size: 8}}
	if _, ok := m.GpuInstanceProfiles[nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV2]; ok {
		m.GpuInstancePlacements[nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV2] = []nvml.GpuInstancePlacement{{Start: 0, Size: 2}, {Start: 2, Size: 2}, {Start: 4, Size: 2}, {Start: 6, Size: 2}}
	}
	m.GpuInstanceProfiles = maps.Clone(m.GpuInstanceProfiles)
	for i, p := range m.GpuInstanceProfiles {
		p.EncoderCount = 0
		p.MemorySizeMB = uint64(m.GpuInstancePlacements[i][0].Size) * (c.MemoryMB / 8) * 31 / 32
		m.GpuInstanceProfiles[i] = p
	}
	m.ComputeInstancePlacements = map[int]map[int][]nvml.ComputeInstancePlacement{}
	for gi, compute := range m.ComputeInstanceProfiles {
		m.ComputeInstancePlacements[gi] = map[int][]nvml.ComputeInstancePlacement{}
		for ci, p := range compute {
			m.ComputeInstancePlacements[gi][ci] = computePlaces(p.SliceCount, m.GpuInstanceProfiles[gi].SliceCount)
		}
	}
	c.MIGProfiles = m
	return Model{
		Config: c, Slices: 7,
		IDs: map[int]int{
			nvml.GPU_INSTANCE_PROFILE_1_SLICE: 19, nvml.GPU_INSTANCE_PROFILE_2_SLICE: 14, nvml.GPU_INSTANCE_PROFILE_3_SLICE: 9,
			nvml.GPU_INSTANCE_PROFILE_4_SLICE: 5, nvml.GPU_INSTANCE_PROFILE_7_SLICE: 0,
			nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV1: 20, nvml.GPU_INSTANCE_PROFILE_1_SLICE_REV2: 15,
		},
	}
}

// computePlaces are where a compute instance of size slices can be in a GPU instance of so many.
func computePlaces(size, slices uint32) (places []nvml.ComputeInstancePlacement) {
	step := size
	if size == 3 {
		step = 4 // the second begins at the middle
	}
	for start := uint32(0); start+size <= slices; start += step {
		places = append(places, nvml.ComputeInstancePlacement{Start: start, Size: size})
	}
	return places
}

// profiles are the constants of a model's GPU instance profiles, in order.
func (m Model) profiles() []int { return slices.Sorted(maps.Keys(m.MIGProfiles.GpuInstanceProfiles)) }
