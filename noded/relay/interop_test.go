package relay

import (
	"context"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"easel/noded/session"
)

// coturn's client and coturn's peer understand us over every transport, by channels and by indications.
func TestCoturnsClient(t *testing.T) {
	for _, program := range []string{"turnutils_uclient", "turnutils_peer"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: install Debian's coturn (packaging/install-deps.sh test)", err)
		}
	}
	secure := selfSigned(t)
	w := start(t, func(o *Options) {
		o.TLSListen, o.TLS = []string{"127.0.0.1:0"}, secure
		o.SessionAllocations = o.Allocations // it gives none back
	})
	w.sessions.set(mine, session.Connected, coturnsPeer(t))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificates[0].Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	plain, tls := port(w.streams[0].Addr()), port(w.streams[1].Addr())
	for name, arguments := range map[string][]string{
		"UDP": {"-p", plain}, "TCP": {"-p", plain, "-t"}, "TLS": {"-p", tls, "-t", "-S", "-E", ca},
		"UDP by indications": {"-p", plain, "-s"}, "TCP by indications": {"-p", plain, "-t", "-s"}, "large packets": {"-p", plain, "-l", "1300"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits much
			out := w.uclient(t, arguments...)
			const want = clients * messages
			lost := regexp.MustCompile(`Total lost packets (\d+)`).FindStringSubmatch(out)
			got := regexp.MustCompile(`tot_recv_msgs=(\d+)`).FindAllStringSubmatch(out, -1)
			if lost == nil || len(got) == 0 {
				t.Fatalf("it tells no figures:\n%s", out)
			}
			if n, _ := strconv.Atoi(got[len(got)-1][1]); n != want || lost[1] != "0" {
				t.Errorf("%s of %d messages came back, %s were lost:\n%s", got[len(got)-1][1], want, lost[1], out)
			}
		})
	}
}

// How much coturn's client sends.
const clients, messages = 3, 20

// uclient runs coturn's client with the credentials of a session, and returns what it says.
func (w *world) uclient(t *testing.T, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	found, err := w.sessions.Await(ctx, mine, "")
	if err != nil {
		t.Fatal(err)
	}
	s := w.Servers(mine)[0]
	arguments = append(arguments, "-c", "-u", s.Username, "-w", s.Credential, "-e", "127.0.0.1", "-r", strconv.Itoa(int(found.UDPPort)),
		"-m", strconv.Itoa(clients), "-n", strconv.Itoa(messages), "-z", "5", "-L", "127.0.0.1", "127.0.0.1")
	out, err := exec.CommandContext(ctx, "turnutils_uclient", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("turnutils_uclient: %v\n%s", err, out)
	}
	return string(out)
}

// coturnsPeer is coturn's echoing peer, and its port.
func coturnsPeer(t *testing.T) uint16 {
	t.Helper()
	probe, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	at := addrPort(probe.LocalAddr())
	_ = probe.Close()
	cmd := exec.Command("turnutils_peer", "-L", "127.0.0.1", "-p", strconv.Itoa(int(at.Port())))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, "coturn's peer answers", func() bool {
		c, err := net.Dial("udp", at.String())
		if err != nil {
			return false
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.Write([]byte("hello")); err != nil {
			return false
		}
		_, err = c.Read(make([]byte, 16))
		return err == nil
	})
	return at.Port()
}
