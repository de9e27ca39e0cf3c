package nvmltest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/server"
)

// completeMIG adds what go-nvml's mock cards lack of MIG: cards without it, room that can be used up, and MIG devices.
func (c *MockCard) completeMIG() {
	if c.model.Slices == 0 {
		c.GetMigModeFunc = func() (int, int, nvml.Return) { return 0, 0, nvml.ERROR_NOT_SUPPORTED }
		return
	}
	create := c.CreateGpuInstanceWithPlacementFunc
	c.CreateGpuInstanceWithPlacementFunc = func(info *nvml.GpuInstanceProfileInfo, at *nvml.GpuInstancePlacement) (nvml.GpuInstance, nvml.Return) {
		if !c.fits(info, *at) {
			return nil, nvml.ERROR_INSUFFICIENT_RESOURCES
		}
		return create(info, at)
	}
	c.CreateGpuInstanceFunc = func(info *nvml.GpuInstanceProfileInfo) (nvml.GpuInstance, nvml.Return) {
		for _, at := range c.model.MIGProfiles.GpuInstancePlacements[int(info.Id)] {
			if c.fits(info, at) {
				return create(info, &at)
			}
		}
		return nil, nvml.ERROR_INSUFFICIENT_RESOURCES
	}
	c.GetGpuInstanceByIdFunc = func(id int) (nvml.GpuInstance, nvml.Return) {
		for _, gi := range c.instances() {
			if int(gi.Info.Id) == id {
				return gi, nvml.SUCCESS
			}
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
	c.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return c.model.Slices, nvml.SUCCESS }
	c.GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		all := c.migDevices()
		if i < 0 || i >= len(all) {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return all[i], nvml.SUCCESS
	}
}

// instances are the GPU instances in the order of their IDs.
func (c *MockCard) instances() []*server.GpuInstance {
	c.Device.RLock()
	defer c.Device.RUnlock()
	var all []*server.GpuInstance
	for gi := range c.GpuInstances {
		all = append(all, gi)
	}
	slices.SortFunc(all, func(a, b *server.GpuInstance) int { return cmp.Compare(a.Info.Id, b.Info.Id) })
	return all
}

// fits tells whether an instance can be made there, as the driver does.
func (c *MockCard) fits(info *nvml.GpuInstanceProfileInfo, at nvml.GpuInstancePlacement) bool {
	m := c.model.MIGProfiles
	if !slices.Contains(m.GpuInstancePlacements[int(info.Id)], at) {
		return false
	}
	slicesUsed, same := info.SliceCount, uint32(0)
	for _, gi := range c.instances() {
		p := gi.Info.Placement
		if at.Start < p.Start+p.Size && p.Start < at.Start+at.Size {
			return false
		}
		slicesUsed += m.GpuInstanceProfiles[int(gi.Info.ProfileId)].SliceCount
		if gi.Info.ProfileId == info.Id {
			same++
		}
	}
	return slicesUsed <= uint32(c.model.Slices) && same < info.InstanceCount
}

// migDevices are the devices that the compute instances make.
func (c *MockCard) migDevices() (all []nvml.Device) {
	if mode, _, ret := c.migMode(); ret != nvml.SUCCESS || mode != nvml.DEVICE_MIG_ENABLE {
		return nil
	}
	for _, gi := range c.instances() {
		gi.RLock()
		var cis []*server.ComputeInstance
		for ci := range gi.ComputeInstances {
			cis = append(cis, ci)
		}
		gi.RUnlock()
		slices.SortFunc(cis, func(a, b *server.ComputeInstance) int { return cmp.Compare(a.Info.Id, b.Info.Id) })
		for _, ci := range cis {
			all = append(all, c.migDevice(gi, ci))
		}
	}
	return all
}

// migMode is the mode without the faults of the card.
func (c *MockCard) migMode() (current, pending int, ret nvml.Return) {
	if c.model.Slices == 0 {
		return 0, 0, nvml.ERROR_NOT_SUPPORTED
	}
	c.Device.RLock()
	defer c.Device.RUnlock()
	return c.MigMode, c.MigMode, nvml.SUCCESS
}

// migDevice is the device of a compute instance: the same one whenever it is asked for.
func (c *MockCard) migDevice(gi *server.GpuInstance, ci *server.ComputeInstance) *mock.Device {
	key := [2]int{int(gi.Info.Id), int(ci.Info.Id)}
	var known *mock.Device
	c.set(func() { known = c.devices[key] })
	if known != nil {
		return known
	}
	gi.GetComputeInstanceByIdFunc = func(id int) (nvml.ComputeInstance, nvml.Return) {
		gi.RLock()
		defer gi.RUnlock()
		for ci := range gi.ComputeInstances {
			if int(ci.Info.Id) == id {
				return ci, nvml.SUCCESS
			}
		}
		return nil, nvml.ERROR_NOT_FOUND
	}
	p := c.model.MIGProfiles.GpuInstanceProfiles[int(gi.Info.ProfileId)]
	q := c.model.MIGProfiles.ComputeInstanceProfiles[int(gi.Info.ProfileId)][int(ci.Info.ProfileId)]
	d := &mock.Device{}
	d.GetUUIDFunc = func() (string, nvml.Return) {
		return fmt.Sprintf("MIG-%s-%d-%d", c.UUID[len("GPU-"):], key[0], key[1]), nvml.SUCCESS
	}
	d.IsMigDeviceHandleFunc = func() (bool, nvml.Return) { return true, nvml.SUCCESS }
	d.GetGpuInstanceIdFunc = func() (int, nvml.Return) { return key[0], nvml.SUCCESS }
	d.GetComputeInstanceIdFunc = func() (int, nvml.Return) { return key[1], nvml.SUCCESS }
	d.GetDeviceHandleFromMigDeviceHandleFunc = func() (nvml.Device, nvml.Return) { return c.Device, nvml.SUCCESS }
	d.GetAttributesFunc = func() (nvml.DeviceAttributes, nvml.Return) {
		return nvml.DeviceAttributes{
			MultiprocessorCount: q.MultiprocessorCount, SharedCopyEngineCount: p.CopyEngineCount, SharedDecoderCount: p.DecoderCount,
			SharedEncoderCount: p.EncoderCount, GpuInstanceSliceCount: p.SliceCount, ComputeInstanceSliceCount: q.SliceCount, MemorySizeMB: p.MemorySizeMB,
		}, nvml.SUCCESS
	}
	c.use(d, key[0], key[1], p.MemorySizeMB<<20)
	breakable(d, c.enter)
	c.set(func() { c.devices[key] = d })
	return d
}
