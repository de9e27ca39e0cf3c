package main

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"testing"
	"time"
)

// listener reads reports from the init socket, as the streamer does.
type listener struct {
	conn  net.Conn
	lines *bufio.Scanner
}

func listenTo(t *testing.T, socket string) listener {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return listener{conn, bufio.NewScanner(conn)}
}

func (l listener) next(t *testing.T) report {
	t.Helper()
	if !l.lines.Scan() {
		t.Fatalf("no report: %v", l.lines.Err())
	}
	var r report
	if err := json.Unmarshal(l.lines.Bytes(), &r); err != nil {
		t.Fatalf("%q: %v", l.lines.Text(), err)
	}
	return r
}

func TestReportComesAtOnceAndAfterEachChange(t *testing.T) {
	dir := t.TempDir()
	b, socket, _ := kept(t, script("gimp", dir, "touch gimp.ready; exec sleep 1000"))
	eventually(t, "GIMP runs", func() bool { return stateOf(b, "gimp").State == running })
	l := listenTo(t, socket)
	first := l.next(t)
	if !first.Ready || first.GIMP.State != running || first.GIMP.Pid == 0 || first.Services["gimp"].Pid != first.GIMP.Pid {
		t.Errorf("first report: %+v", first)
	}
	b.windowShown(1234)
	if r := l.next(t); r.GIMP.WindowMS != 1234 || r.Seq <= first.Seq {
		t.Errorf("second report: %+v", r)
	}
}

func TestReportHasTheAgreedNames(t *testing.T) {
	b := newBoard([]string{"xorg", "gimp"})
	b.update("gimp", func(r *serviceReport) { *r = serviceReport{State: running, Pid: 7, Restarts: 2} })
	b.windowShown(2500)
	r, _ := b.snapshot()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":3,"ready":true,"services":{"gimp":{"state":"running","pid":7,"restarts":2},"xorg":{"state":"starting","pid":0,"restarts":0}},` +
		`"gimp":{"state":"running","pid":7,"restarts":2,"window_ms":2500},"opencl":{"state":"off"}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestSocketIsForAnotherUserAndTakesOnlySoMany(t *testing.T) {
	_, socket, _ := kept(t, script("gimp", t.TempDir(), "exec sleep 1000"))
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, want 0666", info.Mode().Perm())
	}
	for range mostListeners {
		listenTo(t, socket).next(t)
	}
	one := listenTo(t, socket)
	if one.lines.Scan() {
		t.Errorf("one too many was told %q", one.lines.Text())
	}
}

func TestListenerThatGoesMakesRoom(t *testing.T) {
	_, socket, _ := kept(t, script("gimp", t.TempDir(), "exec sleep 1000"))
	for range 3 * mostListeners {
		eventually(t, "there is room again", func() bool {
			l := listenTo(t, socket)
			defer l.conn.Close()
			return l.lines.Scan()
		})
	}
}

func TestListenerThatTalksHarmsNobody(t *testing.T) {
	b, socket, _ := kept(t, script("gimp", t.TempDir(), "touch gimp.ready; exec sleep 1000"))
	l := listenTo(t, socket)
	l.next(t)
	if _, err := l.conn.Write([]byte("let me in\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "GIMP runs", func() bool { return stateOf(b, "gimp").State == running })
	listenTo(t, socket).next(t)
}
