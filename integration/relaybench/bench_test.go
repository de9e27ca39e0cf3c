package relaybench

import (
	"fmt"
	"net"
	"testing"

	"easel/pkg/mmsg"
)

// allocations is how many viewers share the server.
const allocations = 8

var servers = []struct {
	name  string
	start func(testing.TB, []*net.UDPConn) server
}{{"easel", startEasel}, {"coturn", startCoturn}}

// connect starts a server and makes a way through it for each of as many streamers as viewers.
func connect(tb testing.TB, start func(testing.TB, []*net.UDPConn) server) (server, []*way) {
	tb.Helper()
	var peers []*net.UDPConn
	for range allocations {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = c.Close() })
		if err := mmsg.Enlarge(c, 4<<20); err != nil {
			tb.Fatal(err)
		}
		peers = append(peers, c)
	}
	s := start(tb, peers)
	var ways []*way
	for i, p := range peers {
		w, err := open(s.address, s.logins[i], p)
		if err != nil {
			tb.Fatalf("%s: %v", s.name, err)
		}
		tb.Cleanup(func() { _ = w.client.Close() })
		if err := mmsg.Enlarge(w.client, 4<<20); err != nil {
			tb.Fatal(err)
		}
		ways = append(ways, w)
	}
	return s, ways
}

// The benchmark's client is understood by both servers, so that what it measures is the same work.
func TestPacketsCrossBothServers(t *testing.T) {
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			_, ways := connect(t, s.start)
			for _, down := range []bool{true, false} {
				const n = 2000
				if lost := load(t, ways, n, 1200, down); lost > n/2 {
					t.Errorf("%d of %d packets were lost (down: %v)", lost, n, down)
				}
			}
		})
	}
}

// BenchmarkRelay carries packets from streamers to viewers (down, most of what a relay does) and back (up) through the node's
// relay and through coturn. packets/core-s is what one processor of the server carries in a second.
func BenchmarkRelay(b *testing.B) {
	for _, s := range servers {
		b.Run("server="+s.name, func(b *testing.B) {
			server, ways := connect(b, s.start)
			for _, size := range []int{200, 1200} {
				for _, way := range []string{"down", "up"} {
					b.Run(fmt.Sprintf("way=%s/bytes=%d", way, size), func(b *testing.B) { measure(b, server, ways, size, way == "down") })
				}
			}
		})
	}
}

func measure(b *testing.B, s server, ways []*way, size int, down bool) {
	load(b, ways, 1000, size, down) // caches warm, paths found
	before := cpu(b, s.pid)
	b.ResetTimer()
	lost := load(b, ways, b.N, size, down)
	b.StopTimer()
	used := cpu(b, s.pid) - before
	carried := float64(b.N - lost)
	b.ReportMetric(carried/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric(carried/used.Seconds(), "packets/core-s")
	b.ReportMetric(100*float64(lost)/float64(b.N), "lost-%")
}
