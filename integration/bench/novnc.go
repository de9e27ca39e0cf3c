package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"easel/integration/browser"
)

// novncPage shows the screen at its own size at the page's top left, with Debian's noVNC and its default settings.
const novncPage = `<!doctype html><meta charset="utf-8"><title>noVNC</title>
<style>html,body{margin:0;overflow:hidden}#screen{width:1920px;height:1080px}</style><div id="screen"></div>
<script type="module">
import RFB from './core/rfb.js';
const rfb = new RFB(document.getElementById('screen'), 'ws://' + location.host + '/websockify');
rfb.addEventListener('connect', () => { window.connected = true; });
rfb.addEventListener('disconnect', (e) => { window.connected = false; console.error('disconnected', e.detail.clean); });
</script>
`

// openNoVNC starts TigerVNC's X server and noVNC, both as Debian ships them, and looks at them in the browser.
func openNoVNC(ctx context.Context, log *slog.Logger, b *browser.Chromium) (_ *Target, err error) {
	dir, err := os.MkdirTemp("", "easel-bench-vnc-")
	if err != nil {
		return nil, err
	}
	v := &vnc{dir: dir, log: log}
	defer func() {
		if err != nil {
			v.close()
		}
	}()
	if err := v.start(ctx); err != nil {
		return nil, err
	}
	begin := time.Now()
	page, err := b.Open(browser.PageOptions{Width: screenWidth, Height: screenHeight})
	if err != nil {
		return nil, err
	}
	v.page = page
	if err := page.Go("http://" + v.web + "/easel-bench.html"); err != nil {
		return nil, err
	}
	if err := page.Until(15*time.Second, "window.connected && __probe.size().width"); err != nil {
		return nil, fmt.Errorf("noVNC: %w", err)
	}
	return &Target{
		Name: novncName, XSocket: v.socket, Page: page,
		Groups: v.groups, Close: v.close,
		Starts: map[string]time.Duration{"server": v.serverUp, "page": time.Since(begin)},
	}, nil
}

type vnc struct {
	dir, socket, web string
	log              *slog.Logger
	server, proxy    *exec.Cmd
	page             *browser.Page
	serverUp         time.Duration
}

func (v *vnc) start(ctx context.Context) error {
	begin := time.Now()
	rfb, err := freePort()
	if err != nil {
		return err
	}
	// The server chooses a free display number itself and writes it to its descriptor 3.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	v.server, err = v.spawn(ctx, "Xtigervnc", []*os.File{w}, "-displayfd", "3", "-geometry", "1920x1080", "-depth", "24",
		"-SecurityTypes", "None", "-localhost", "-rfbport", strconv.Itoa(rfb), "-ac", "-nolisten", "tcp", "-noreset")
	_ = w.Close()
	if err != nil {
		return err
	}
	_ = r.SetReadDeadline(time.Now().Add(15 * time.Second))
	var display int
	if _, err := fmt.Fscan(r, &display); err != nil {
		return fmt.Errorf("start Xtigervnc: %w; its log:\n%s", err, v.tail("Xtigervnc"))
	}
	v.socket = "/tmp/.X11-unix/X" + strconv.Itoa(display)
	v.serverUp = time.Since(begin)

	web := filepath.Join(v.dir, "web")
	if err := os.Mkdir(web, 0o755); err != nil {
		return err
	}
	for _, part := range []string{"core", "vendor"} {
		if err := os.Symlink("/usr/share/novnc/"+part, filepath.Join(web, part)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(web, "easel-bench.html"), []byte(novncPage), 0o644); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	v.web = "127.0.0.1:" + strconv.Itoa(port)
	if v.proxy, err = v.spawn(ctx, "websockify", nil, "--web", web, v.web, "127.0.0.1:"+strconv.Itoa(rfb)); err != nil {
		return err
	}
	return waitTCP(ctx, v.web, 15*time.Second)
}

func (v *vnc) spawn(ctx context.Context, name string, files []*os.File, args ...string) (*exec.Cmd, error) {
	out, err := os.Create(filepath.Join(v.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out, out, files
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w; install tigervnc-standalone-server, novnc and websockify", name, err)
	}
	return cmd, nil
}

func (v *vnc) tail(name string) string {
	b, _ := os.ReadFile(filepath.Join(v.dir, name+".log"))
	return string(b[max(0, len(b)-2000):])
}

func (v *vnc) groups() (Groups, error) {
	proxies, err := withChildren(v.proxy.Process.Pid) // websockify forks for each connection
	if err != nil {
		return nil, err
	}
	return Groups{"Xtigervnc": {v.server.Process.Pid}, "websockify": proxies}, nil
}

func (v *vnc) close() {
	if v.page != nil {
		v.page.Close()
	}
	for _, c := range []*exec.Cmd{v.proxy, v.server} {
		if c == nil {
			continue
		}
		pids, _ := withChildren(c.Process.Pid)
		for _, pid := range pids {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Signal(os.Interrupt)
			}
		}
		if err := waitOr(c, 5*time.Second); err != nil {
			v.log.Warn("end of a VNC process", "err", err)
		}
	}
	_ = os.RemoveAll(v.dir)
}

// waitOr waits for a process and kills it when the time is over. That it ended by our signal is no error.
func waitOr(c *exec.Cmd, limit time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	select {
	case err := <-done:
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil
		}
		return err
	case <-time.After(limit):
		_ = c.Process.Kill()
		<-done
		return fmt.Errorf("%s did not end in %s and was killed", c.Path, limit)
	}
}

// freePort asks the kernel for a TCP port that nobody has now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func waitTCP(ctx context.Context, addr string, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("nothing answers on %s after %s: %w", addr, limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
