package devstack

import (
	"context"
	"errors"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary play a daemon: behaviour by its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "daemon" {
		playDaemon(os.Args[2])
	}
	os.Exit(m.Run())
}

func playDaemon(as string) {
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM)
	if as == "dies" {
		os.Stderr.WriteString("no such thing as a free port\n")
		os.Exit(3)
	}
	if as == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
	if err != nil {
		os.Exit(4)
	}
	c.Write([]byte("STATUS=starting"))
	c.Write([]byte("READY=1\nSTATUS=" + os.Getenv("SAY")))
	for range 2000 {
		c.Write([]byte("WATCHDOG=1")) // more than a socket's queue: the reader must go on reading
	}
	os.Stderr.WriteString("ready " + os.Getenv("SAY") + "\n")
	<-ends
	os.Exit(0)
}

func daemon(t *testing.T, as string) *Process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := &Process{
		Name: as, Path: exe, Args: []string{"daemon", as}, runDir: dir, LogPath: filepath.Join(dir, "log"),
		started: func(*Process) error { return nil },
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func TestProcessIsReadyWhenItSaysSo(t *testing.T) {
	p := daemon(t, "good")
	if err := p.Start(t.Context(), "SAY=once"); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); err == nil {
		t.Error("a second start of a running daemon succeeded")
	}
	if p.PID() == 0 {
		t.Error("a running daemon has no pid")
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if p.PID() != 0 {
		t.Errorf("a stopped daemon has pid %d", p.PID())
	}
	if log := p.LogTail(5); !strings.Contains(log, "ready once") {
		t.Errorf("log = %q, want what the daemon said", log)
	}
}

func TestProcessStartsAgainAfterAKill(t *testing.T) {
	p := daemon(t, "good")
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := p.PID()
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Exited():
	default:
		t.Error("killed, but Exited is open")
	}
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.PID() == first {
		t.Error("the same process after a kill")
	}
}

func TestProcessThatDiesSaysWhy(t *testing.T) {
	err := daemon(t, "dies").Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "free port") {
		t.Errorf("err = %v, want its exit status and its last words", err)
	}
}

func TestProcessThatIgnoresSIGTERMIsKilledAndReported(t *testing.T) {
	p := daemon(t, "deaf")
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("err = %v, want that it was killed", err)
	}
	if p.PID() != 0 {
		t.Error("it still runs")
	}
}

func TestLockRefusesASecondStackAndKeepsTheRecordOfAKilledOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.lock")
	l, previous, err := acquire(path)
	if err != nil || previous.Dir != "" {
		t.Fatalf("first: %v, %+v", err, previous)
	}
	rec := record{Dir: "/some/dir", Cgroup: "/c", Processes: []started{{Name: "noded", PID: 1, Start: 7}}}
	if err := l.write(rec); err != nil {
		t.Fatal(err)
	}
	_, _, err = acquire(path)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "/some/dir") {
		t.Errorf("err = %v, want ErrInUse that names the other's directory", err)
	}
	// A killed process gives up the lock and not the record.
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
	l, previous, err = acquire(path)
	if err != nil {
		t.Fatal(err)
	}
	if previous.Dir != rec.Dir || !slices.Equal(previous.Processes, rec.Processes) || previous.Owner != os.Getpid() {
		t.Errorf("previous = %+v, want %+v", previous, rec)
	}
	// A shorter record must not leave the longer one's end.
	if err := errors.Join(l.write(record{}), l.release()); err != nil {
		t.Fatal(err)
	}
	l, previous, err = acquire(path)
	if err != nil || previous.Dir != "" {
		t.Errorf("after a clean end: %v, %+v", err, previous)
	}
	_ = l.release()
}

func TestLockSaysWhatToDoWithABrokenRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.lock")
	if err := os.WriteFile(path, []byte("{half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := acquire(path); err == nil || !strings.Contains(err.Error(), "remove that file") {
		t.Errorf("err = %v, want what to do", err)
	}
}

func TestStartTimeTellsAProcessFromItsNumbersNextUser(t *testing.T) {
	now, err := startTime(os.Getpid())
	if err != nil || now == 0 {
		t.Fatalf("startTime = %d, %v", now, err)
	}
	if !(started{PID: os.Getpid(), Start: now}).alive() {
		t.Error("this process is not alive")
	}
	if (started{PID: os.Getpid(), Start: now - 1}).alive() {
		t.Error("another start time is taken for this process")
	}
}

func TestParseMountinfoUnescapesAndPassesOverRubbish(t *testing.T) {
	text := "36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 - ext4 /dev/loop0 rw\nrubbish\n37 35 0:1 / /proc rw - proc proc rw\n"
	got := parseMountinfo([]byte(text), func(fsType, _ string) bool { return fsType == "ext4" })
	if !slices.Equal(got, []string{"/mnt/a b"}) {
		t.Errorf("got %q", got)
	}
}

func TestBelowIsByNameNotByPrefix(t *testing.T) {
	for _, c := range []struct {
		path, dir string
		want      bool
	}{
		{"/a/b", "/a", true},
		{"/a/b", "/a/", true},
		{"/ab", "/a", false},
		{"/a", "/a", false},
		{"/a", "", false},
	} {
		if got := below(c.path, c.dir); got != c.want {
			t.Errorf("below(%q, %q) = %v", c.path, c.dir, got)
		}
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = portsFree("127.0.0.1:0", l.Addr().String())
	if !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), l.Addr().String()) {
		t.Errorf("err = %v, want ErrPortTaken with the address", err)
	}
}
