package partition

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"easel/noded/gpu"
)

// What became of a request to the driver, where it matters what follows.
var (
	errInUse   = errors.New("something uses it")
	errRefused = errors.New("the driver refuses it")
	errReset   = errors.New("it takes effect with the card's next reset")
)

// patience bounds one request to the driver, by kind.
type patience struct{ ask, make, mode time.Duration }

// usual is what a driver that works needs at the most: a change of the mode resets the card.
func usual() patience {
	return patience{ask: 20 * time.Second, make: time.Minute, mode: 3 * time.Minute}
}

// Instance is a GPU instance as it is on a card.
type Instance struct {
	Place
	ID    uint32 `json:"id"`
	Parts int    `json:"parts"` // compute instances in it
	Full  bool   `json:"full"`  // it has one, over all of it: it can be used
}

// usable tells whether the instance can stay: it is full, or was not finished.
func (i Instance) usable() bool { return i.Full || i.Parts == 0 }

// driver is what the division of one card asks of NVML.
type driver struct {
	cards    Cards
	uuid     string
	memory   uint64
	patience patience
}

// asked is an answer of the card. Its deadline is its own: a daemon that ends waits for what it has begun, or it would leave a half-made
// instance and take a card for silent that is not.
func asked[T any](d driver, bound time.Duration, what string, request func(nvml.Device) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	var got, none T
	err := d.cards.Ask(ctx, d.uuid, func(h nvml.Device) (err error) {
		got, err = request(h)
		return err
	})
	if err != nil {
		return none, fmt.Errorf("%s: %w", what, err)
	}
	return got, nil
}

// failure is an answer of NVML as an error; nil for success.
func failure(ret nvml.Return) error {
	switch ret {
	case nvml.SUCCESS:
		return nil
	case nvml.ERROR_IN_USE:
		return errInUse
	case nvml.ERROR_RESET_REQUIRED:
		return errReset
	case nvml.ERROR_INSUFFICIENT_RESOURCES, nvml.ERROR_INVALID_ARGUMENT, nvml.ERROR_NOT_SUPPORTED:
		return fmt.Errorf("%w: %w", errRefused, ret)
	}
	return ret
}

// mode tells whether MIG mode is on, and whether it will be after the next reset.
func (d driver) mode() (gpu.MIG, error) {
	return asked(d, d.patience.ask, "read MIG mode", func(h nvml.Device) (gpu.MIG, error) {
		now, next, ret := h.GetMigMode()
		if ret == nvml.ERROR_NOT_SUPPORTED {
			return gpu.MIG{}, nil
		}
		return gpu.MIG{Capable: true, Enabled: now == nvml.DEVICE_MIG_ENABLE, Pending: next == nvml.DEVICE_MIG_ENABLE}, failure(ret)
	})
}

// setMode turns MIG mode on or off, for which the driver resets the card where it must.
func (d driver) setMode(on bool) error {
	mode, what := nvml.DEVICE_MIG_DISABLE, "turn MIG mode off"
	if on {
		mode, what = nvml.DEVICE_MIG_ENABLE, "turn MIG mode on"
	}
	_, err := asked(d, d.patience.mode, what, func(h nvml.Device) (struct{}, error) {
		activation, ret := h.SetMigMode(mode)
		if err := failure(ret); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, failure(activation)
	})
	return err
}

// profiles is what the card can be divided into.
func (d driver) profiles() ([]Profile, error) {
	return asked(d, d.patience.ask, "read MIG profiles", func(h nvml.Device) ([]Profile, error) {
		var all []Profile
		err := d.eachProfile(h, func(_ int, name string, info nvml.GpuInstanceProfileInfo) error {
			if slices.ContainsFunc(all, func(p Profile) bool { return p.Name == name }) {
				return nil // rounding has given two the same name: the first has it, as in create
			}
			places, ret := h.GetGpuInstancePossiblePlacements(&info)
			if ret == nvml.ERROR_NOT_SUPPORTED {
				return nil
			}
			if err := failure(ret); err != nil {
				return fmt.Errorf("places of %s: %w", name, err)
			}
			p := Profile{Name: name, Most: int(info.InstanceCount)}
			for _, at := range places {
				p.Places = append(p.Places, Place{name, int(at.Start), int(at.Size)})
			}
			slices.SortFunc(p.Places, func(a, b Place) int { return a.Start - b.Start })
			all = append(all, p)
			return nil
		})
		return all, err
	})
}

// eachProfile visits the profiles of GPU instances that the card has.
func (d driver) eachProfile(h nvml.Device, visit func(number int, name string, info nvml.GpuInstanceProfileInfo) error) error {
	for number := range nvml.GPU_INSTANCE_PROFILE_COUNT {
		info, ret := h.GetGpuInstanceProfileInfo(number)
		if ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_INVALID_ARGUMENT {
			continue
		}
		if err := failure(ret); err != nil {
			return fmt.Errorf("profile %d: %w", number, err)
		}
		name, err := gpu.ProfileName(number, info, d.memory)
		if err != nil {
			continue // a kind of profile that came after this code
		}
		if err := visit(number, name, info); err != nil {
			return err
		}
	}
	return nil
}

// present is what is on the card, by place; none when its MIG mode is off.
func (d driver) present() ([]Instance, error) {
	return asked(d, d.patience.ask, "read GPU instances", func(h nvml.Device) ([]Instance, error) {
		var all []Instance
		err := d.eachInstance(h, func(i Instance, _ nvml.GpuInstance) error {
			all = append(all, i)
			return nil
		})
		slices.SortFunc(all, func(a, b Instance) int { return a.Start - b.Start })
		return all, err
	})
}

func (d driver) eachInstance(h nvml.Device, visit func(Instance, nvml.GpuInstance) error) error {
	if now, _, ret := h.GetMigMode(); ret != nvml.SUCCESS || now != nvml.DEVICE_MIG_ENABLE {
		if ret == nvml.ERROR_NOT_SUPPORTED {
			return nil
		}
		return failure(ret)
	}
	return d.eachProfile(h, func(_ int, name string, info nvml.GpuInstanceProfileInfo) error {
		instances, ret := h.GetGpuInstances(&info)
		if err := failure(ret); err != nil {
			return fmt.Errorf("instances of %s: %w", name, err)
		}
		for _, gi := range instances {
			about, ret := gi.GetInfo()
			if err := failure(ret); err != nil {
				return fmt.Errorf("an instance of %s: %w", name, err)
			}
			parts, full, err := partsOf(gi, info.SliceCount)
			if err != nil {
				return fmt.Errorf("compute instances of %s: %w", name, err)
			}
			at := Place{name, int(about.Placement.Start), int(about.Placement.Size)}
			if err := visit(Instance{at, about.Id, len(parts), full}, gi); err != nil {
				return err
			}
		}
		return nil
	})
}

// partsOf is the compute instances of a GPU instance, and whether they are one over all of its slices.
func partsOf(gi nvml.GpuInstance, slices uint32) (parts []nvml.ComputeInstance, full bool, err error) {
	err = eachPart(gi, func(info nvml.ComputeInstanceProfileInfo) error {
		some, ret := gi.GetComputeInstances(&info)
		if err := failure(ret); err != nil {
			return err
		}
		for range some {
			full = info.SliceCount == slices
		}
		parts = append(parts, some...)
		return nil
	})
	return parts, full && len(parts) == 1, err
}

// eachPart visits the profiles of compute instances that a GPU instance can have, by NVML's number of each once.
func eachPart(gi nvml.GpuInstance, visit func(nvml.ComputeInstanceProfileInfo) error) error {
	seen := map[uint32]bool{}
	for number := range nvml.COMPUTE_INSTANCE_PROFILE_COUNT {
		info, ret := gi.GetComputeInstanceProfileInfo(number, nvml.COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED)
		if ret == nvml.ERROR_NOT_SUPPORTED || ret == nvml.ERROR_INVALID_ARGUMENT || ret == nvml.SUCCESS && seen[info.Id] {
			continue
		}
		if err := failure(ret); err != nil {
			return fmt.Errorf("profile %d: %w", number, err)
		}
		seen[info.Id] = true
		if err := visit(info); err != nil {
			return err
		}
	}
	return nil
}

// destroy takes the GPU instance at a place away, with what is in it. None there is success.
func (d driver) destroy(at Place) error {
	_, err := asked(d, d.patience.make, "destroy "+at.String(), func(h nvml.Device) (struct{}, error) {
		return struct{}{}, d.eachInstance(h, func(i Instance, gi nvml.GpuInstance) error {
			if i.Place != at {
				return nil
			}
			parts, _, err := partsOf(gi, 0)
			if err != nil {
				return err
			}
			for _, part := range parts {
				if err := failure(part.Destroy()); err != nil {
					return fmt.Errorf("its compute instance: %w", err)
				}
			}
			return failure(gi.Destroy())
		})
	})
	return err
}

// create makes the GPU instance at a place; half tells that it has been made, with no compute instance in it yet. What is
// there already is completed.
func (d driver) create(at Place, half func() error) error {
	_, err := asked(d, d.patience.make, "make "+at.String(), func(h nvml.Device) (struct{}, error) {
		gi, slices, parts, err := d.find(h, at)
		if err != nil {
			return struct{}{}, err
		}
		if gi == nil {
			if gi, slices, err = d.makeInstance(h, at); err != nil {
				return struct{}{}, err
			}
		}
		if err := half(); err != nil {
			return struct{}{}, err
		}
		if parts > 0 {
			return struct{}{}, nil
		}
		return struct{}{}, makePart(gi, slices)
	})
	return err
}

// find returns the GPU instance at a place, nil when none is there.
func (d driver) find(h nvml.Device, at Place) (found nvml.GpuInstance, slices uint32, parts int, err error) {
	err = d.eachInstance(h, func(i Instance, gi nvml.GpuInstance) error {
		if i.Place == at {
			found, parts = gi, i.Parts
		}
		return nil
	})
	if err != nil || found == nil {
		return nil, 0, 0, err
	}
	err = d.eachProfile(h, func(_ int, name string, info nvml.GpuInstanceProfileInfo) error {
		if name == at.Profile {
			slices = info.SliceCount
		}
		return nil
	})
	return found, slices, parts, err
}

func (d driver) makeInstance(h nvml.Device, at Place) (gi nvml.GpuInstance, slices uint32, err error) {
	err = d.eachProfile(h, func(_ int, name string, info nvml.GpuInstanceProfileInfo) error {
		if name != at.Profile || gi != nil {
			return nil
		}
		made, ret := h.CreateGpuInstanceWithPlacement(&info, &nvml.GpuInstancePlacement{Start: uint32(at.Start), Size: uint32(at.Size)})
		gi, slices = made, info.SliceCount
		return failure(ret)
	})
	if err == nil && gi == nil {
		err = fmt.Errorf("%w: the card has no profile %s", errRefused, at.Profile)
	}
	return gi, slices, err
}

// makePart makes the compute instance over a whole GPU instance.
func makePart(gi nvml.GpuInstance, slices uint32) error {
	done := false
	err := eachPart(gi, func(info nvml.ComputeInstanceProfileInfo) error {
		if done || info.SliceCount != slices {
			return nil
		}
		done = true
		_, ret := gi.CreateComputeInstance(&info)
		return failure(ret)
	})
	if err == nil && !done {
		err = fmt.Errorf("%w: no compute instance is as large as it", errRefused)
	}
	if err != nil {
		return fmt.Errorf("its compute instance: %w", err)
	}
	return nil
}
