//go:build cgo

package doctor

import (
	"errors"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
)

// GPUs asks NVIDIA's library, which is loaded at run time: a host without it is a host without GPUs.
func (machine) GPUs() (gpus []GPU, err error) {
	lib := nvml.New()
	switch ret := lib.Init(); ret {
	case nvml.SUCCESS:
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return nil, ErrNoGPULibrary
	default:
		return nil, errors.New(nvml.ErrorString(ret))
	}
	defer func() { _ = lib.Shutdown() }()
	driver, ret := lib.SystemGetDriverVersion()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("ask for the driver's version: %s", nvml.ErrorString(ret))
	}
	count, ret := lib.DeviceGetCount()
	if ret != nvml.SUCCESS {
		return nil, fmt.Errorf("count GPUs: %s", nvml.ErrorString(ret))
	}
	for i := range count {
		gpu, err := describe(lib, i)
		if err != nil {
			return nil, err
		}
		gpu.Driver = driver
		gpus = append(gpus, gpu)
	}
	return gpus, nil
}

func describe(lib nvml.Interface, i int) (GPU, error) {
	device, ret := lib.DeviceGetHandleByIndex(i)
	if ret != nvml.SUCCESS {
		return GPU{}, fmt.Errorf("open GPU %d: %s", i, nvml.ErrorString(ret))
	}
	name, ret := device.GetName()
	if ret != nvml.SUCCESS {
		return GPU{}, fmt.Errorf("name GPU %d: %s", i, nvml.ErrorString(ret))
	}
	memory, ret := device.GetMemoryInfo()
	if ret != nvml.SUCCESS {
		return GPU{}, fmt.Errorf("ask GPU %d for its memory: %s", i, nvml.ErrorString(ret))
	}
	return GPU{Name: name, Memory: memory.Total}, nil
}
