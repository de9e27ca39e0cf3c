// Package nvmltest makes NVIDIA cards for tests on machines that have none. No session that ships imports it.
//
// # The C double
//
// BuildDouble compiles a libnvidia-ml of our own, so that go-nvml's cgo path, nvcdi and a real noded run on it. Its cards are
// plain files in a directory that the environment variable EASEL_NVML_DOUBLE names, so what a test changes is seen at once by
// every process, and a noded that is killed loses nothing:
//
//	library := nvmltest.BuildDouble(t)
//	machine := nvmltest.NewMachine(t, nvmltest.A100(), nvmltest.L40S())
//	noded: environment machine.Env(), configuration gpu.library: library and gpu.driver_root: machine.DriverRoot(t)
//	this process: t.Setenv(machine.Variable()); lib := nvml.New(nvml.WithLibraryPath(library))
//	machine.Card(0).Lose()          // it falls off the bus; Return brings it back
//	machine.Card(0).XID(79)         // an event
//	machine.Card(1).Processes(nvmltest.Process{PID: cmd.Process.Pid, Memory: 1 << 30})
//	machine.Card(0).Fail("nvmlDeviceCreateGpuInstanceWithPlacement", nvml.ERROR_UNKNOWN)
//	machine.Calls()                 // what was changed by calls, in order
//
// A process that has ended holds nothing any more, whatever the file says. A function that the double does not have aborts the
// process that calls it, as with the real library: look optional ones up first (nvml.Interface.Extensions().LookupSymbol).
//
// The machine's files: driver, nvml, cuda (versions), no-driver (there: nvmlInit fails), fail (lines "CODE FUNCTION").
// A card's, in cardN/: uuid, model, memory, pci, minor, numa, cpus, temperature, encode ("h264 hevc"), mig, mig-pending, lost,
// hang ("*" or a function), fail, processes ("PID BYTES GI CI C|G"), events ("TYPE DATA GI CI"), ecc-uncorrected, rows-pending,
// rows-failed, clock-reasons, use, encoder-use, process-use, giN and giN.ciM (instances). double/ has them all.
//
// # Mocks
//
// Mock gives go-nvml's own mock server with what it lacks (places, engines, events, MIG devices, room for instances, faults), for
// tests that need no C.
package nvmltest
