package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// gimpName is the service that the session is there for; filesName is the file server, and the argument that makes this program it.
const (
	gimpName  = "gimp"
	filesName = "files"
)

const display = ":0"

// vncSteady keeps the VNC server from ending when the screen becomes smaller (images/gimp/vnc).
const vncSteady = "/usr/lib/easel/vncsteady.so"

// paths is where things lie in the container (ARCHITECTURE.md, "Processes and where things lie").
type paths struct {
	edge      string // sockets that the streamer connects to
	authority string // X cookie
	xSockets  string
	runtime   string // our own, in memory
	config    string // /etc/easel
	profile   string // GIMP's profile in the image
	proof     string // the program that proves OpenCL
	home      string
}

func containerPaths(home string) paths {
	return paths{
		edge: "/run/easel/edge", authority: "/run/easel/xauthority", xSockets: "/tmp/.X11-unix", runtime: "/tmp/runtime", config: "/etc/easel",
		profile: "/usr/share/easel/profile", proof: "/usr/lib/easel/prove-opencl.py", home: home,
	}
}

// session is what the services of one container share.
type session struct {
	paths   paths
	width   int
	height  int
	gimprc  string // GIMP's defaults
	env     []string
	board   *board
	began   time.Time
	arrival *arrival
	opencl  *openCL
	log     *slog.Logger

	mu     sync.Mutex
	screen *screen // of the X server that runs now; nil when none does
}

// environment is what every service finds: the container's own, and where the session's servers are.
func environment(base []string, p paths) []string {
	var env []string
	for _, e := range base {
		if !strings.HasPrefix(e, "EASEL_") {
			env = append(env, e)
		}
	}
	return append(env,
		"DISPLAY="+display, "XAUTHORITY="+p.authority, "XDG_RUNTIME_DIR="+p.runtime, "XDG_SESSION_TYPE=x11",
		"DBUS_SESSION_BUS_ADDRESS=unix:path="+p.runtime+"/bus", "PULSE_SERVER=unix:"+p.runtime+"/pulse.sock",
		"GDK_BACKEND=x11", "NO_AT_BRIDGE=1", "GSETTINGS_BACKEND=memory",
	)
}

// services are the session's programs in the order in which they are told of. What does not wait for another starts at once; sound,
// VNC and the file server wait for GIMP, so as not to slow its start, but where GIMP waits for its artist.
func (s *session) services() []service {
	const grace = time.Second
	p := s.paths
	sound, vnc := []string{gimpName}, []string{"xorg", gimpName}
	if s.arrival.warm == warmDesktop {
		sound, vnc = nil, []string{"xorg"}
	}
	return []service{
		{
			name: "dbus", prepare: s.dbus, ready: saidSomething, patience: 10 * time.Second, grace: grace,
		},
		{
			name: "xorg", prepare: s.xorg, ready: s.xorgReady, patience: 20 * time.Second, grace: grace,
		},
		{
			name: "openbox", after: []string{"xorg"}, patience: 20 * time.Second, grace: grace,
			prepare: s.plain("/usr/bin/openbox", "--config-file", p.config+"/openbox/rc.xml", "--sm-disable"),
			ready:   s.onScreen((*screen).hasManager),
		},
		{
			name: "pulseaudio", after: sound, prepare: s.pulseaudio, ready: listens(p.runtime + "/pulse.sock"), patience: 20 * time.Second, grace: grace,
		},
		{
			name: "vnc", after: vnc, prepare: s.vnc, ready: listens(p.edge + "/vnc.sock"), patience: 20 * time.Second, grace: grace,
		},
		{
			name: filesName, after: sound, prepare: s.files, ready: listens(p.edge + "/files.sock"), patience: 20 * time.Second, grace: 2 * time.Second,
		},
		{
			name: gimpName, after: []string{"dbus", "xorg"}, await: s.gimpMayStart, prepare: s.gimp, ready: s.gimpReady, patience: 3 * time.Minute,
			ask: s.closeGIMP, asked: 2 * time.Second, grace: grace,
		},
	}
}

// plain prepares a program that needs nothing but its arguments.
func (s *session) plain(path string, args ...string) func() (command, error) {
	return func() (command, error) {
		return command{path: path, args: append([]string{filepath.Base(path)}, args...), env: s.env}, nil
	}
}

// telling prepares a program that writes a line into descriptor 3 when it is ready.
func (s *session) telling(path string, args ...string) (command, error) {
	c, err := s.plain(path, args...)()
	if err != nil {
		return c, err
	}
	read, write, err := os.Pipe()
	if err != nil {
		return c, fmt.Errorf("make a pipe: %w", err)
	}
	c.files, c.read = []*os.File{write}, read
	return c, nil
}

// without removes what an earlier life of the service left.
func without(files ...string) error {
	for _, f := range files {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what an earlier process left: %w", err)
		}
	}
	return nil
}

func (s *session) dbus() (command, error) {
	bus := s.paths.runtime + "/bus"
	if err := without(bus); err != nil {
		return command{}, err
	}
	return s.telling("/usr/bin/dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog", "--address=unix:path="+bus, "--print-address=3")
}

func (s *session) xorg() (command, error) {
	template, err := os.ReadFile(s.paths.config + "/xorg.conf")
	if err != nil {
		return command{}, fmt.Errorf("configure X server: %w", err)
	}
	text, err := xorgConfig(string(template), s.width, s.height)
	if err != nil {
		return command{}, err
	}
	config := s.paths.runtime + "/xorg.conf"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return command{}, fmt.Errorf("configure X server: %w", err)
	}
	if err := without("/tmp/.X0-lock", s.paths.xSockets+"/X0"); err != nil {
		return command{}, err
	}
	return s.telling("/usr/lib/xorg/Xorg", display, "-config", config, "-auth", s.paths.authority,
		"-nolisten", "tcp", "-nolisten", "local", "-noreset", "-novtswitch", "-quiet", "-logfile", "/dev/null", "-logverbose", "0", "-displayfd", "3")
}

// xorgReady waits for the server and takes a look at its screen.
func (s *session) xorgReady(ctx context.Context, c command) error {
	if err := saidSomething(ctx, c); err != nil {
		return err
	}
	fresh, err := openScreen(display)
	if err != nil {
		return err
	}
	s.mu.Lock()
	old := s.screen
	s.screen = fresh
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	return nil
}

func (s *session) currentScreen() (*screen, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.screen == nil {
		return nil, errors.New("there is no X server")
	}
	return s.screen, nil
}

// onScreen returns a ready that waits until condition holds on the screen.
func (s *session) onScreen(condition func(*screen) (bool, error)) func(context.Context, command) error {
	return func(ctx context.Context, _ command) error {
		screen, err := s.currentScreen()
		if err != nil {
			return err
		}
		return screen.await(ctx, func() (bool, error) { return condition(screen) })
	}
}

func (s *session) pulseaudio() (command, error) {
	if err := without(s.paths.runtime+"/pulse.sock", s.paths.edge+"/audio.pipe"); err != nil {
		return command{}, err
	}
	return s.plain("/usr/bin/pulseaudio", "-n", "--file="+s.paths.config+"/pulse.pa", "--daemonize=no", "--use-pid-file=no", "--disallow-exit",
		"--disallow-module-loading", "--exit-idle-time=-1", "--high-priority=no", "--realtime=no", "--log-target=stderr", "--log-level=error")()
}

// vnc has no clipboard: what crosses goes by the operator's policy and is written down, which nobody could do here.
func (s *session) vnc() (command, error) {
	socket := s.paths.edge + "/vnc.sock"
	if err := without(socket); err != nil {
		return command{}, err
	}
	c, err := s.plain("/usr/bin/X0tigervnc", "-display", display, "-rfbport", "-1", "-rfbunixpath", socket, "-rfbunixmode", "0666",
		"-SecurityTypes", "None", "-AcceptCutText=0", "-SendCutText=0", "-AcceptSetDesktopSize=1", "-AlwaysShared=1", "-desktop", "GIMP", "-Log", "*:stderr:10")()
	c.env = append(slices.Clone(c.env), "LD_PRELOAD="+vncSteady)
	return c, err
}

func (s *session) files() (command, error) {
	program, err := os.Executable()
	if err != nil {
		return command{}, fmt.Errorf("find easel-init's own program: %w", err)
	}
	return s.plain(program, filesName)()
}

// profile is where GIMP keeps the artist's settings.
func (s *session) profile() string { return s.paths.home + "/.config/GIMP/3.0" }

// gimp readies the artist's profile. A home that is full or broken does not keep GIMP from starting: it makes its own profile, slowly.
func (s *session) gimp() (command, error) {
	if err := furnish(s.paths.profile, s.profile()); err != nil {
		s.log.Error("GIMP starts without its prepared profile", "error", err)
	}
	defaults := s.paths.runtime + "/gimprc"
	if err := os.WriteFile(defaults, []byte(s.gimprc+s.opencl.gimprc()), 0o600); err != nil {
		return command{}, fmt.Errorf("write GIMP's defaults: %w", err)
	}
	c, err := s.plain("/usr/bin/gimp-3.0", "--no-splash", "--stack-trace-mode=never", "--system-gimprc="+defaults)()
	c.env = s.opencl.environment(c.env, s.opencl.on())
	return c, err
}

// gimpMayStart waits for what GIMP cannot learn after its start: the artist's profile, on a warm desktop, and whether OpenCL works.
func (s *session) gimpMayStart(ctx context.Context, fails int) {
	if s.arrival.warm == warmDesktop {
		select {
		case <-s.arrival.came:
		case <-ctx.Done():
		}
	}
	s.opencl.settle(ctx, fails)
}

func (s *session) gimpReady(ctx context.Context, c command) error {
	if err := s.onScreen((*screen).hasGIMP)(ctx, c); err != nil {
		return err
	}
	s.board.windowShown(time.Since(s.began).Milliseconds())
	screen, err := s.currentScreen()
	if err != nil {
		return err
	}
	return screen.maximizeGIMP()
}

func (s *session) closeGIMP() error {
	screen, err := s.currentScreen()
	if err != nil {
		return err
	}
	return screen.closeGIMP()
}
