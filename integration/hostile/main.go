// Command hostile is what a session container might hold instead of easel-init: it takes its part as PID 1 and attacks its
// edge. The integration tests put it into images of their own; the file /mode names the attack.
package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

const (
	initSocket  = "/run/easel/edge/init.sock"
	xSocket     = "/tmp/.X11-unix/X0"
	vncSocket   = "/run/easel/edge/vnc.sock"
	penSocket   = "/run/easel/edge/pen.sock"
	filesSocket = "/run/easel/edge/files.sock"
)

// modes are the attacks, by name.
var modes = map[string]func() error{
	"silent":   forever,                                                           // never starts
	"exit":     func() error { os.Exit(3); return nil },                           // ends at once
	"stubborn": func() error { signal.Ignore(syscall.SIGTERM); return forever() }, // does not end when asked
	"flood-x":  func() error { return playX(floodX) },
	"lying-x":  func() error { return playX(lyingX) },
	"chatter":  chatter,
	"symlinks": symlinks,
	"files":    lyingFiles,
	"filler":   filler,
	"forks":    forks,
}

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "child":
			_ = forever()
		case "bomb":
			bomb()
		}
	}
	mode, err := os.ReadFile("/mode")
	if err != nil {
		fail(err)
	}
	attack := modes[strings.TrimSpace(string(mode))]
	if attack == nil {
		fail(fmt.Errorf("unknown mode %q", mode))
	}
	if err := attack(); err != nil {
		fail(err)
	}
	_ = forever()
}

// forever waits without looking like a deadlock to the Go runtime.
func forever() error {
	for {
		time.Sleep(time.Hour)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "hostile:", err)
	os.Exit(1)
}

// report says on the init socket, to whoever connects, that all is well.
func report() {
	serve(initSocket, func(c net.Conn) {
		_, _ = fmt.Fprintf(c, `{"seq":1,"ready":true,"services":{"xorg":{"state":"running","pid":1,"restarts":0}},"gimp":{"state":"running","pid":1,"restarts":0,"window_ms":1}}`+"\n")
		_, _ = c.Read(make([]byte, 1))
	})
}

// serve accepts on a unix socket for ever.
func serve(path string, each func(net.Conn)) {
	l, err := net.Listen("unix", path)
	if err != nil {
		fail(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		fail(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); each(c) }()
		}
	}()
}

func playX(part func(net.Conn)) error {
	serve(xSocket, part)
	report()
	return nil
}

// floodX answers anything with noise, as fast as it goes.
func floodX(c net.Conn) {
	noise := make([]byte, 1<<16)
	for i := range noise {
		noise[i] = byte(i * 7)
	}
	noise[0], noise[2] = 1, 11 // the first bytes pass for an accepted set-up
	for {
		if _, err := c.Write(noise); err != nil {
			return
		}
	}
}

// lyingX accepts the connection with a screen of 65535 by 65535 pixels, then claims replies of 16 GiB.
func lyingX(c net.Conn) {
	if _, err := c.Read(make([]byte, 4096)); err != nil {
		return
	}
	setup := setupReply(65535, 65535)
	if _, err := c.Write(setup); err != nil {
		return
	}
	go func() {
		for {
			if _, err := c.Read(make([]byte, 4096)); err != nil {
				return
			}
		}
	}()
	for seq := uint16(1); ; seq++ {
		reply := make([]byte, 32)
		reply[0] = 1
		binary.LittleEndian.PutUint16(reply[2:], seq)
		binary.LittleEndian.PutUint32(reply[4:], 0xffffffff) // length in units of four bytes
		if _, err := c.Write(reply); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// setupReply is an accepting set-up of the X protocol (chapter 8) with one screen of one depth.
func setupReply(width, height uint16) []byte {
	body := make([]byte, 32+8+40+8+24)
	le := binary.LittleEndian
	le.PutUint32(body[4:], 0x200000) // resource base
	le.PutUint32(body[8:], 0x1fffff) // resource mask
	le.PutUint16(body[18:], 0xffff)  // longest request
	body[20], body[21] = 1, 1        // screens, formats
	body[24], body[25] = 32, 32      // scanline unit and pad
	body[26], body[27] = 8, 255      // keycodes
	format := body[32:]
	format[0], format[1], format[2] = 24, 32, 32
	screen := body[40:]
	le.PutUint32(screen[0:], 0x100)
	le.PutUint16(screen[20:], width)
	le.PutUint16(screen[22:], height)
	le.PutUint32(screen[32:], 0x21)
	screen[38], screen[39] = 24, 1
	depth := body[80:]
	depth[0] = 24
	le.PutUint16(depth[2:], 1)
	visual := body[88:]
	le.PutUint32(visual[0:], 0x21)
	visual[4], visual[5] = 4, 8
	le.PutUint16(visual[6:], 256)
	head := make([]byte, 8)
	head[0] = 1
	le.PutUint16(head[2:], 11)
	le.PutUint16(head[6:], uint16(len(body)/4))
	return append(head, body...)
}

// chatter sends an endless line and then endless wrong ones on the init socket, and endless nothing on the VNC socket.
func chatter() error {
	serve(initSocket, func(c net.Conn) {
		long := []byte(strings.Repeat("x", 1<<20))
		for range 4 {
			if _, err := c.Write(long); err != nil {
				return
			}
		}
		for {
			if _, err := c.Write([]byte("\n{\"seq\":-1,\"gimp\":{\"pid\":99999999999999999999}}\n")); err != nil {
				return
			}
		}
	})
	serve(vncSocket, floodX)
	serve(xSocket, floodX)
	return nil
}

// lyingFiles is a file server that takes nothing, and whose answers have no end, another length than they say, or a type of their own.
func lyingFiles() error {
	serve(filesSocket, func(c net.Conn) {
		b := make([]byte, 4096)
		n, err := c.Read(b)
		if err != nil {
			return
		}
		asked, _, _ := strings.Cut(string(b[:n]), "\r\n")
		const head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nEtag: \"1-2-3\"\r\n"
		switch {
		case strings.HasPrefix(asked, "GET /content/c2hvcnQ "): // "short"
			fmt.Fprint(c, head+"Content-Length: 1000\r\n\r\n<script>")
			return
		case strings.HasPrefix(asked, "GET /content/"):
			fmt.Fprint(c, head+"Content-Length: 1000000000000\r\n\r\n")
			floodX(c)
		case strings.HasPrefix(asked, "GET /list"):
			fmt.Fprint(c, head+"\r\n")
			floodX(c)
		}
		time.Sleep(time.Hour) // it neither reads nor answers, and keeps the connection
	})
	return nil
}

// symlinks puts links to the host's files where the streamer expects sockets.
func symlinks() error {
	for _, path := range []string{initSocket, vncSocket, penSocket, xSocket, filesSocket} {
		_ = os.Remove(path)
		if err := os.Symlink("/run/systemd/notify", path); err != nil {
			return err
		}
	}
	return syscall.Mkfifo(filepath.Join(filepath.Dir(initSocket), "fifo"), 0o666)
}

// filler writes wherever it can until nothing takes more, its own output included.
func filler() error {
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i)
	}
	for _, dir := range []string{"/home/artist", "/run/easel/edge", "/tmp/.X11-unix", "/tmp", "/dev/shm", "/run", "/"} {
		f, err := os.Create(filepath.Join(dir, "filler"))
		if err != nil {
			fmt.Fprintf(os.Stderr, "filler: %s: %v\n", dir, err)
			continue
		}
		var n int64
		for n < 16<<30 {
			k, err := f.Write(chunk)
			n += int64(k)
			if err != nil {
				break
			}
		}
		fmt.Fprintf(os.Stderr, "filler: %s took %d bytes\n", dir, n)
	}
	report()
	for range 64 << 10 {
		if _, err := os.Stdout.Write(chunk[:1<<16]); err != nil {
			break
		}
	}
	return nil
}

// forks starts processes without end, from a child: at the limit Go's runtime dies of the thread that it cannot have, and a
// PID 1 that died would end the attack.
func forks() error {
	debug.SetGCPercent(-1) // the collector starts threads
	report()
	return exec.Command("/proc/self/exe", "bomb").Start()
}

func bomb() {
	debug.SetGCPercent(-1)
	for {
		c := exec.Command("/proc/self/exe", "child")
		if err := c.Start(); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}
