package contract

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const card = "GPU-7f1ce345-7b02-4d2b-9d06-2f1d4f1c0b11"

func good() Config {
	return Config{
		Session: "sabc", Socket: "/r/streamer.sock", XSocket: "/r/x11/X0", XCookie: strings.Repeat("ab", 16),
		EdgeDir: "/r/edge", UDPAddrs: []string{"127.0.0.1"}, UDPPort: 50000, Initial: Size{1280, 720}, LogLevel: "info",
	}
}

func TestReadConfigTakesWhatNodedWrites(t *testing.T) {
	b, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	c, err := ReadConfig(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if c.UDPPort != 50000 || len(c.Cookie()) != 16 || c.Cookie()[0] != 0xab {
		t.Fatalf("read back %+v", c)
	}
}

func TestEncodersThatAreTaken(t *testing.T) {
	for _, e := range []Encoder{
		{},
		{Kind: X264},
		{Kind: NVENC, Device: card},
		{Kind: NVENC, Device: "MIG-7f1ce345-7b02-4d2b-9d06-2f1d4f1c0b11", Libraries: "/usr/lib/nvidia"},
		{Kind: NVENC, Device: "MIG-" + card + "/1/0"},
	} {
		if err := e.Validate(); err != nil {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestReadConfigAtEndOfFileIsErrNoConfig(t *testing.T) {
	if _, err := ReadConfig(strings.NewReader("")); !errors.Is(err, ErrNoConfig) {
		t.Fatalf("got %v, want ErrNoConfig", err)
	}
}

func TestReadConfigRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
	}{
		"an unknown field":                     {`{"sesion":"x"}`, "sesion"},
		"no JSON":                              {`nonsense`, "invalid character"},
		"two documents":                        {`{}{}`, "follows"},
		"an empty document":                    {`{}`, "x_cookie"},
		"too long":                             {strings.Repeat(" ", MaxConfig) + "{}", "longer than"},
		"one relay port":                       {`{"relay_ports":[51000]}`, "must be the first and the last port"},
		"relay ports swapped":                  {`{"relay_ports":[51999,51000]}`, "must be the first and the last port"},
		"a bad media adress":                   {`{"udp_addrs":["nowhere"]}`, `"nowhere" is not an IP address`},
		"a bad port":                           {`{"udp_port":70000}`, "70000 is not a port"},
		"a tiny screen":                        {`{"initial":{"width":1,"height":1}}`, "1x1 is outside"},
		"an unknown encoder":                   {`{"encoder":{"kind":"vaapi"}}`, `kind "vaapi" is not known`},
		"an encoder's device without its kind": {`{"encoder":{"device":"GPU-1"}}`, "kind is missing"},
		"NVENC on no card":                     {`{"encoder":{"kind":"nvenc","device":"GPU-5;rm"}}`, "nvidia-smi -L"},
		"x264 on a card":                       {`{"encoder":{"kind":"x264","device":"` + card + `"}}`, "not x264's"},
		"a driver in a relative place":         {`{"encoder":{"kind":"nvenc","device":"` + card + `","libraries":"lib"}}`, "not an absolute path"},
		"a relative path":                      {`{"socket":"a/b"}`, "not an absolute path"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadConfig(strings.NewReader(c.in))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func FuzzReadHealth(f *testing.F) {
	f.Add(`{"seq":1,"ready":true,"viewers":1,"path":"direct","gimp":{"state":"running","pid":7,"restarts":0,"window_ms":2000},"x_pid":3,"services":{"xorg":{"state":"running","pid":3,"restarts":0}},"degraded":[],"error":""}`)
	f.Add(`{"seq":-1}`)
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ReadHealth(strings.NewReader(s))
		if err != nil {
			return
		}
		if _, err := json.Marshal(h); err != nil {
			t.Fatalf("a health that was read can't be written: %v", err)
		}
	})
}

func TestRelayed(t *testing.T) {
	c := Config{UDPAddrs: []string{"192.0.2.1", "2001:db8::1"}, RelayPorts: []uint16{51000, 51999}}
	for _, tc := range []struct {
		address string
		port    int
		want    bool
	}{
		{"192.0.2.1", 51000, true}, {"2001:db8::1", 51999, true}, {"192.0.2.1", 50999, false}, {"192.0.2.1", 52000, false}, {"198.51.100.7", 51000, false},
	} {
		if got := c.Relayed(tc.address, tc.port); got != tc.want {
			t.Errorf("%s port %d: relayed is %v", tc.address, tc.port, got)
		}
	}
	c.RelayPorts = nil
	if c.Relayed("192.0.2.1", 51000) {
		t.Error("a node without relay has a relayed viewer")
	}
}
