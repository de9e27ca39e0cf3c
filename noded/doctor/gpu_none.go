//go:build !cgo

package doctor

// GPUs needs cgo to load NVIDIA's library.
func (machine) GPUs() ([]GPU, error) { return nil, ErrNoGPULibrary }
