package gpu

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/NVIDIA/go-nvlib/pkg/nvlib/device"
	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// readCard asks a card for all that is known of one.
func readCard(lib nvml.Interface, index int) (Card, Load, error) {
	c := Card{Index: index}
	d, ret := lib.DeviceGetHandleByIndex(index)
	if ret != nvml.SUCCESS {
		return c, Load{}, fmt.Errorf("open card %d: %w", index, ret)
	}
	if err := c.identify(d); err != nil {
		return c, Load{}, err
	}
	c.NUMA, c.CPUs = near(lib, d)
	if err := c.readMIG(lib, d); err != nil {
		return c, Load{}, err
	}
	c.Engines = engines(lib, d, c.Model)
	faults, err := readHealth(lib, d)
	if err != nil {
		return c, Load{}, err
	}
	c.Faults = faults
	return c, readLoad(lib, d), nil
}

// has tells whether the driver's library has a function. One that it lacks ends the process when it is called: those that came late are
// looked up.
func has(lib nvml.Interface, function string) bool {
	return lib.Extensions().LookupSymbol(function) == nil
}

func (c *Card) identify(d nvml.Device) error {
	var ret nvml.Return
	if c.UUID, ret = d.GetUUID(); ret != nvml.SUCCESS {
		return fmt.Errorf("ask for the UUID: %w", ret)
	}
	if c.Model, ret = d.GetName(); ret != nvml.SUCCESS {
		return fmt.Errorf("ask for the model: %w", ret)
	}
	if c.Minor, ret = d.GetMinorNumber(); ret != nvml.SUCCESS {
		return fmt.Errorf("ask for the device's minor number: %w", ret)
	}
	memory, ret := d.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("ask for the memory: %w", ret)
	}
	c.Memory = memory.Total
	pci, ret := d.GetPciInfo()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("ask for the PCI address: %w", ret)
	}
	c.PCI = strings.ToLower(cString(pci.BusId[:]))
	return nil
}

func cString[T ~int8 | ~uint8](s []T) string {
	var b strings.Builder
	for _, c := range s {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// Most CPUs and NUMA nodes of a host.
const (
	maxCPUs  = 8192
	maxNodes = 1024
)

// near is the NUMA node and the CPUs that a card is at; a host that does not say has -1 and "".
func near(lib nvml.Interface, d nvml.Device) (node int, cpus string) {
	node = -1
	if has(lib, "nvmlDeviceGetMemoryAffinity") {
		if set, ret := d.GetMemoryAffinity(maxNodes, nvml.AFFINITY_SCOPE_NODE); ret == nvml.SUCCESS && len(members(set)) > 0 {
			node = members(set)[0]
		}
	}
	if set, ret := d.GetCpuAffinity(maxCPUs); ret == nvml.SUCCESS {
		cpus = list(members(set))
	}
	return node, cpus
}

// members are the numbers of the bits that are set.
func members(set []uint) (all []int) {
	for i, word := range set {
		for ; word != 0; word &= word - 1 {
			all = append(all, i*bits.UintSize+bits.TrailingZeros(word))
		}
	}
	return all
}

// list writes rising numbers as the kernel does: "0-3,8".
func list(numbers []int) string {
	var parts []string
	for i := 0; i < len(numbers); {
		last := i
		for last+1 < len(numbers) && numbers[last+1] == numbers[last]+1 {
			last++
		}
		part := fmt.Sprint(numbers[i])
		if last > i {
			part = fmt.Sprintf("%d-%d", numbers[i], numbers[last])
		}
		parts, i = append(parts, part), last+1
	}
	return strings.Join(parts, ",")
}

func (c *Card) readMIG(lib nvml.Interface, d nvml.Device) error {
	if !has(lib, "nvmlDeviceGetMigMode") {
		return nil
	}
	current, pending, ret := d.GetMigMode()
	if ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_FUNCTION_NOT_FOUND {
		return nil
	}
	if ret != nvml.SUCCESS {
		return fmt.Errorf("ask for the MIG mode: %w", ret)
	}
	c.MIG = MIG{Capable: true, Enabled: current == nvml.DEVICE_MIG_ENABLE, Pending: pending == nvml.DEVICE_MIG_ENABLE}
	if !c.MIG.Enabled {
		return nil
	}
	count, ret := d.GetMaxMigDeviceCount()
	if ret != nvml.SUCCESS {
		return fmt.Errorf("count the MIG devices: %w", ret)
	}
	for i := range count {
		m, ret := d.GetMigDeviceHandleByIndex(i)
		if ret == nvml.ERROR_NOT_FOUND || ret == nvml.ERROR_INVALID_ARGUMENT {
			continue
		}
		if ret != nvml.SUCCESS {
			return fmt.Errorf("open MIG device %d: %w", i, ret)
		}
		instance, err := readInstance(lib, d, m)
		if err != nil {
			return fmt.Errorf("MIG device %d: %w", i, err)
		}
		c.Instances = append(c.Instances, instance)
	}
	slices.SortFunc(c.Instances, func(a, b Instance) int { return (a.Start-b.Start)<<16 + a.CI - b.CI })
	return nil
}

func readInstance(lib nvml.Interface, card, m nvml.Device) (i Instance, err error) {
	var ret nvml.Return
	if i.UUID, ret = m.GetUUID(); ret != nvml.SUCCESS {
		return i, fmt.Errorf("ask for the UUID: %w", ret)
	}
	if i.GI, ret = m.GetGpuInstanceId(); ret != nvml.SUCCESS {
		return i, fmt.Errorf("ask for the GPU instance: %w", ret)
	}
	if i.CI, ret = m.GetComputeInstanceId(); ret != nvml.SUCCESS {
		return i, fmt.Errorf("ask for the compute instance: %w", ret)
	}
	gi, ret := card.GetGpuInstanceById(i.GI)
	if ret != nvml.SUCCESS {
		return i, fmt.Errorf("open GPU instance %d: %w", i.GI, ret)
	}
	info, ret := gi.GetInfo()
	if ret != nvml.SUCCESS {
		return i, fmt.Errorf("ask where GPU instance %d is: %w", i.GI, ret)
	}
	i.Start, i.Size = int(info.Placement.Start), int(info.Placement.Size)
	attributes, ret := m.GetAttributes()
	if ret != nvml.SUCCESS {
		return i, fmt.Errorf("ask for the attributes: %w", ret)
	}
	i.Memory = attributes.MemorySizeMB << 20
	i.Encoders = int(attributes.SharedEncoderCount)
	named, err := device.New(lib).NewMigDevice(m)
	if err != nil {
		return i, err
	}
	profile, err := named.GetProfile()
	if err != nil {
		return i, fmt.Errorf("name the profile: %w", err)
	}
	i.Profile = profile.String()
	return i, nil
}

// computeProfiles are NVML's compute instance profiles that take all of so many slices.
var computeProfiles = map[uint32]int{
	1: nvml.COMPUTE_INSTANCE_PROFILE_1_SLICE, 2: nvml.COMPUTE_INSTANCE_PROFILE_2_SLICE, 3: nvml.COMPUTE_INSTANCE_PROFILE_3_SLICE,
	4: nvml.COMPUTE_INSTANCE_PROFILE_4_SLICE, 6: nvml.COMPUTE_INSTANCE_PROFILE_6_SLICE, 7: nvml.COMPUTE_INSTANCE_PROFILE_7_SLICE,
	8: nvml.COMPUTE_INSTANCE_PROFILE_8_SLICE,
}

// ComputeProfile is NVML's constant of the compute instance that takes a whole GPU instance of so many slices.
func ComputeProfile(slices uint32) (constant int, ok bool) {
	constant, ok = computeProfiles[slices]
	return constant, ok
}

// ProfileName names a GPU instance profile as NVIDIA does, "1g.10gb", and as an Instance has it: by NVML's constant, what the card says of
// the profile, and the card's memory.
func ProfileName(constant int, info nvml.GpuInstanceProfileInfo, memory uint64) (string, error) {
	compute, ok := ComputeProfile(info.SliceCount)
	if !ok {
		return "", fmt.Errorf("name a MIG profile of %d slices: NVML has no compute instance of that size", info.SliceCount)
	}
	p, err := device.New(nil).NewMigProfile(constant, compute, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, info.MemorySizeMB, memory)
	if err != nil {
		return "", fmt.Errorf("name a MIG profile: %w", err)
	}
	return p.String(), nil
}

// lost tells whether an error is that of a card that is not on the bus any more.
func lost(err error) bool {
	var ret nvml.Return
	return errors.As(err, &ret) && (ret == nvml.ERROR_GPU_IS_LOST || ret == nvml.ERROR_RESET_REQUIRED || ret == nvml.ERROR_GPU_NOT_FOUND)
}
