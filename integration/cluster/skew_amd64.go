package cluster

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A wrong clock for one program alone: no namespace has a real-time clock of its own, and Go programs ask no C library that could be
// replaced. They ask the vDSO, the page of code that the kernel maps into each process, so that page is changed before the program's
// first instruction: its clock_gettime makes the system call and adds the offset. The program itself is the one that ships.

// skewed starts a command at a place with its wall clock that far off. Programs that it starts in turn have the right time.
func skewed(at *place, offset time.Duration) func(*exec.Cmd) error {
	return func(cmd *exec.Cmd) error {
		return at.inside(func() error { // ptrace is a matter of one thread, which inside gives
			cmd.SysProcAttr.Ptrace = true
			if err := cmd.Start(); err != nil {
				return err
			}
			pid := cmd.Process.Pid
			var status syscall.WaitStatus
			if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || !status.Stopped() {
				return fmt.Errorf("wait for the stop of process %d at its start: %v, %w", pid, status, err)
			}
			if err := skewClock(pid, offset); err != nil {
				return errors.Join(err, cmd.Process.Kill(), syscall.PtraceDetach(pid))
			}
			return syscall.PtraceDetach(pid)
		})
	}
}

// skewClock replaces clock_gettime in the vDSO of a stopped process.
func skewClock(pid int, offset time.Duration) error {
	base, size, err := vdso(pid)
	if err != nil {
		return err
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	image := make([]byte, size)
	if _, err := mem.ReadAt(image, base); err != nil {
		return fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return fmt.Errorf("read the vDSO of process %d: %w", pid, err)
	}
	code := clockCode(offset)
	for _, s := range symbols {
		if s.Name != "__vdso_clock_gettime" {
			continue
		}
		if s.Size < uint64(len(code)) {
			return fmt.Errorf("clock_gettime of this kernel's vDSO has %d bytes, too few for %d", s.Size, len(code))
		}
		_, err := mem.WriteAt(code, base+int64(s.Value))
		return err
	}
	return errors.New("this kernel's vDSO has no clock_gettime")
}

// clockCode is clock_gettime(clock in edi, time in rsi) with the offset added when the clock is CLOCK_REALTIME.
func clockCode(offset time.Duration) []byte {
	code := []byte{
		0xb8, 228, 0, 0, 0, // mov eax, SYS_clock_gettime
		0x0f, 0x05, // syscall
		0x83, 0xff, 0x00, // cmp edi, CLOCK_REALTIME
		0x75, 0x0d, // jne to ret
		0x48, 0xb9, // mov rcx, the seconds that follow
	}
	code = binary.LittleEndian.AppendUint64(code, uint64(int64(offset/time.Second)))
	return append(code,
		0x48, 0x01, 0x0e, // add [rsi], rcx
		0xc3, // ret
	)
}

// vdso is where the process has the kernel's page of code.
func vdso(pid int) (base, size int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasSuffix(strings.TrimSpace(line), "[vdso]") {
			var end int64
			_, err := fmt.Sscanf(line, "%x-%x", &base, &end)
			return base, end - base, err
		}
	}
	return 0, 0, fmt.Errorf("process %d has no vDSO", pid)
}
