// Command guest is what the tests run as PID 1 of a container, and as a worker beside it: it says how the world looks from in there,
// and misbehaves as it is told. Told by lines on a socket, one connection each; the answer is one JSON value.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "worker" {
		worker()
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "eat" {
		eat()
		return
	}
	fmt.Println("guest: started")
	signal.Ignore(syscall.SIGPIPE)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		os.Exit(0)
	}()
	_ = os.Remove("/run/easel/edge/init.sock") // of a first start that was cut short, as easel-init does
	l, err := net.Listen("unix", "/run/easel/edge/init.sock")
	if err != nil {
		fmt.Println("guest:", err)
		os.Exit(1)
	}
	_ = os.Chmod("/run/easel/edge/init.sock", 0o666)
	serve(l)
}

// worker is the host process beside the container: it reads its configuration and then listens where that says.
func worker() {
	config, err := io.ReadAll(os.Stdin)
	if err != nil || len(config) == 0 {
		os.Exit(3) // whoever started it died first
	}
	fmt.Println("worker: configured")
	l, err := net.Listen("unix", strings.TrimSpace(string(config)))
	if err != nil {
		fmt.Println("worker:", err)
		os.Exit(1)
	}
	serve(l)
}

func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			os.Exit(1)
		}
		go func() {
			defer conn.Close()
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil {
				return
			}
			_ = json.NewEncoder(conn).Encode(obey(strings.Fields(line)))
		}()
	}
}

func obey(words []string) any {
	switch words[0] {
	case "facts":
		return facts()
	case "calls":
		return calls()
	case "ignore-term":
		signal.Ignore(syscall.SIGTERM)
		return "ok"
	case "exit":
		code, _ := strconv.Atoi(words[1])
		time.AfterFunc(50*time.Millisecond, func() { os.Exit(code) })
		return "ok"
	case "fork": // until it is refused
		n, err := fork()
		return map[string]any{"n": n, "error": fmt.Sprint(err)}
	case "memory": // in a child, so that PID 1 lives on
		err := exec.Command("/proc/self/exe", "eat").Run()
		return say(err)
	case "eat": // in this very process
		eat()
	case "fill": // a file, until it is refused
		return fill(words[1])
	case "direct": // past the page cache: write or read, path, MiB; how many milliseconds it took
		return direct(words[1], words[2], words[3])
	case "files": // empty ones, until it is refused
		for n := range 10_000_000 {
			f, err := os.Create(fmt.Sprintf("%s/f%d", words[1], n))
			if err != nil {
				return map[string]any{"n": n, "error": err.Error()}
			}
			f.Close()
		}
	case "print":
		n, _ := strconv.Atoi(words[1])
		fmt.Print(strings.Repeat("hostile line\n", n/13))
		return "ok"
	case "write":
		return say(os.WriteFile(words[1], []byte(strings.Join(words[2:], " ")), 0o644))
	case "read":
		text, err := os.ReadFile(words[1])
		if err != nil {
			return "error: " + err.Error()
		}
		return string(text)
	case "open": // to read and to write
		f, err := os.OpenFile(words[1], os.O_RDWR, 0)
		if err == nil {
			err = f.Close()
		}
		return say(err)
	case "list":
		entries, err := os.ReadDir(words[1])
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return map[string]any{"names": names, "error": say(err)}
	case "shm": // System V shared memory of this IPC namespace: get key size
		return shm(words[1:])
	}
	return "unknown"
}

// fork makes processes by the bare system call. Go's runtime ends when it is refused a thread: what it may want meanwhile is made before.
func fork() (n int, err error) {
	var made sync.WaitGroup
	enough := make(chan struct{})
	for range 8 {
		made.Add(1)
		go func() {
			runtime.LockOSThread()
			made.Done()
			<-enough
			runtime.UnlockOSThread() // the thread stays, idle
		}()
	}
	made.Wait()
	close(enough)
	for ; n < 100_000; n++ {
		pid, _, errno := syscall.RawSyscall6(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 {
			return n, errno
		}
		for pid == 0 {
			syscall.RawSyscall6(syscall.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
		}
	}
	return n, nil
}

func eat() {
	var held [][]byte
	for range 1 << 20 {
		page := make([]byte, 1<<20)
		for i := 0; i < len(page); i += 4096 {
			page[i] = 1
		}
		held = append(held, page)
	}
	fmt.Println("guest: ate", len(held), "MiB")
}

func fill(path string) any {
	f, err := os.Create(path)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	defer os.Remove(path)
	defer f.Close()
	n, block := 0, make([]byte, 64<<10)
	for n < 64<<30 {
		k, err := f.Write(block)
		n += k
		if err != nil {
			return map[string]any{"n": n, "error": err.Error()}
		}
	}
	return map[string]any{"n": n}
}

func direct(what, path, mib string) any {
	flags := os.O_RDWR | os.O_CREATE | syscall.O_DIRECT
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	defer f.Close()
	// A mapping is aligned as O_DIRECT wants it.
	block, err := syscall.Mmap(-1, 0, 1<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return map[string]any{"error": err.Error()}
	}
	defer func() { _ = syscall.Munmap(block) }()
	n, _ := strconv.Atoi(mib)
	began := time.Now()
	for range n {
		transfer := f.Write
		if what == "read" {
			transfer = f.Read
		}
		if k, err := transfer(block); err != nil || k != len(block) {
			return map[string]any{"error": fmt.Sprintf("%d bytes, %v", k, err)}
		}
	}
	return map[string]any{"ms": time.Since(began).Milliseconds()}
}

func shm(words []string) any {
	key, _ := strconv.Atoi(words[1])
	flags := uintptr(0)
	if words[0] == "make" {
		flags = 0o1000 | 0o666
	}
	id, _, errno := syscall.Syscall(syscall.SYS_SHMGET, uintptr(key), 4096, flags)
	if errno != 0 {
		return "error: " + errno.Error()
	}
	return int(id)
}

func say(err error) string {
	if err != nil {
		return "error: " + err.Error()
	}
	return "ok"
}
