// Package xorgtest runs a real X server with the dummy driver for a test, as a session does.
package xorgtest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Server is a running X server.
type Server struct {
	Display    int
	Socket     string
	Cookie     []byte
	XAuthority string
	PID        int

	dir   string
	cmd   *exec.Cmd
	ended error
}

const conf = `Section "ServerFlags"
  Option "AutoAddDevices" "false"
  Option "AutoEnableDevices" "false"
  Option "AutoAddGPU" "false"
  Option "DontVTSwitch" "true"
  Option "BlankTime" "0"
EndSection
Section "Device"
  Identifier "dummy"
  Driver "dummy"
  VideoRam 300000
EndSection
Section "Monitor"
  Identifier "monitor"
  HorizSync 1.0-2000.0
  VertRefresh 1.0-1000.0
  Modeline "1920x1080" 148.50 1920 2008 2052 2200 1080 1084 1089 1125
EndSection
Section "Screen"
  Identifier "screen"
  Device "dummy"
  Monitor "monitor"
  DefaultDepth 24
  SubSection "Display"
    Depth 24
    Modes "1920x1080"
  EndSubSection
EndSection
Section "ServerLayout"
  Identifier "layout"
  Screen "screen"
EndSection
`

// Start runs an X server of 1920x1080 until the test ends. It needs Debian's xserver-xorg-core and xserver-xorg-video-dummy.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, conf)
}

// StartWith runs one with another configuration (xorg.conf).
func StartWith(t testing.TB, conf string) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{Cookie: make([]byte, 16), XAuthority: filepath.Join(dir, "xauthority")}
	_, _ = rand.Read(s.Cookie)
	write := func(name string, b []byte) {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "xorg.conf"), []byte(conf))
	write(s.XAuthority, authority(s.Cookie))
	s.dir = dir
	s.run(t)
	t.Cleanup(s.Stop)
	return s
}

// Restart starts the server again, on the same display, after Stop.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.run(t, fmt.Sprintf(":%d", s.Display))
}

func (s *Server) run(t testing.TB, args ...string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	args = append(args, "-displayfd", "3", "-config", filepath.Join(s.dir, "xorg.conf"), "-logfile", filepath.Join(s.dir, "log"),
		"-auth", s.XAuthority, "-noreset", "-nolisten", "tcp", "-novtswitch", "-sharevts")
	s.cmd = exec.Command("/usr/lib/xorg/Xorg", args...)
	s.cmd.ExtraFiles = []*os.File{w}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = s.cmd.Start()
	_ = w.Close()
	if err != nil {
		t.Fatalf("start Xorg (Debian packages xserver-xorg-core, xserver-xorg-video-dummy): %v", err)
	}
	_ = r.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := bufio.NewReader(r).ReadString('\n')
	if err == nil {
		s.Display, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		logged, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		t.Fatalf("Xorg did not start: %v\n%s", err, logged)
	}
	s.Socket = fmt.Sprintf("/tmp/.X11-unix/X%d", s.Display)
	s.PID = s.cmd.Process.Pid
}

// Stop ends the server, if it has not ended.
func (s *Server) Stop() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(5*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	s.ended = s.cmd.Wait()
}

// Ended says how the server ended when it was stopped, with its log if not well.
func (s *Server) Ended() error {
	if s.ended == nil {
		return nil
	}
	text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	return fmt.Errorf("the X server did not end well: %w\n%s", s.ended, text)
}

// Dial connects to the server's socket.
func (s *Server) Dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "unix", s.Socket)
}

// Env is what a client finds the display and its cookie by.
func (s *Server) Env() []string {
	return []string{fmt.Sprintf("DISPLAY=:%d", s.Display), "XAUTHORITY=" + s.XAuthority}
}

// Command makes a command that finds the display and its cookie in its environment.
func (s *Server) Command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = append(append(os.Environ(), s.Env()...), "LC_ALL=C.UTF-8")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// authority is an Xauthority file with one cookie for any host and display (FamilyWild).
func authority(cookie []byte) []byte {
	b := []byte{0xff, 0xff}
	for _, field := range []string{"", "", "MIT-MAGIC-COOKIE-1", string(cookie)} {
		b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
		b = append(b, field...)
	}
	return b
}
