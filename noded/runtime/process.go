package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Processes maps the pids that the container sees to the host's, for the session whose group ("/easel/ID") is given. A
// process that ends meanwhile is left out.
func (r *Runtime) Processes(id, group string) (map[int]int, error) {
	pids, err := r.groups.PIDs(boxGroup(group))
	if err != nil {
		return nil, fmt.Errorf("listing the processes of session %s: %w", id, err)
	}
	inside := make(map[int]int, len(pids))
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("listing the processes of session %s: %w", id, err)
		}
		if own, ok := innermostPID(string(status)); ok {
			inside[own] = pid
		}
	}
	return inside, nil
}

// innermostPID reads the last number of the NSpid line (proc_pid_status(5)). A process may choose its name but not write a line break
// into it, so no line is of its making.
func innermostPID(status string) (int, bool) {
	for line := range strings.Lines(status) {
		if numbers, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(numbers)
			if len(fields) == 0 {
				return 0, false
			}
			pid, err := strconv.Atoi(fields[len(fields)-1])
			return pid, err == nil
		}
	}
	return 0, false
}

// alive reports whether the process runs: a zombie does not.
func alive(w Worker) bool {
	state, start, err := readStat(w.PID)
	return err == nil && start == w.Start && state != 'Z' && state != 'X'
}

func startTime(pid int) (uint64, error) {
	_, start, err := readStat(pid)
	return start, err
}

func readStat(pid int) (state byte, start uint64, err error) {
	if pid <= 0 {
		return 0, 0, fs.ErrNotExist
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	state, start, err = parseStat(string(text))
	if err != nil {
		return 0, 0, fmt.Errorf("reading /proc/%d/stat: %w", pid, err)
	}
	return state, start, nil
}

// parseStat reads fields 3 and 22 of proc_pid_stat(5). The second is the program's name in brackets, which may hold brackets and spaces itself.
func parseStat(text string) (state byte, start uint64, err error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return 0, 0, errors.New("no name in brackets")
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return 0, 0, fmt.Errorf("%d fields after the name", len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0][0], start, err
}
