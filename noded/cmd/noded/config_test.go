package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"easel/pkg/reload"
	"easel/pkg/strictyaml"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "noded.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func keep(*Config) error { return nil }

// TestReloadTableNamesEveryField: a new field must say whether a running daemon takes it up.
func TestReloadTableNamesEveryField(t *testing.T) {
	if err := reload.Check[Config](reloads); err != nil {
		t.Error(err)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	c, err := load(write(t, ""), keep)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:8443" || c.PublicURL != "http://127.0.0.1:8443" || c.Media.Ports != (PortRange{50000, 50999}) || c.Sessions.UIDBase != 10_000_000 {
		t.Fatalf("%+v", c)
	}
}

func TestFileIsRead(t *testing.T) {
	c, err := load(write(t, `
name: gpu1
sessions: {memory: 1.5GiB, grace: 90s, max: 3, cpus: 0.5}
media: {ports: 40000-40010, addresses: [192.0.2.1, "2001:db8::1"]}
tls: {cert: /c.pem, key: /k.pem}
listen: 192.0.2.1:8443
`), keep)
	if err != nil {
		t.Fatal(err)
	}
	if c.Sessions.Memory != 3<<29 || c.Sessions.Grace != 90*time.Second || c.Media.Ports.Count() != 11 || c.PublicURL != "https://192.0.2.1:8443" {
		t.Fatalf("%+v", c)
	}
}

func TestRelayIsReachedByTheNodesName(t *testing.T) {
	for text, want := range map[string]string{
		"": "127.0.0.1:3478",
		"public_url: https://n.example:8443\nrelay: {listen: [\"192.0.2.1:3479\"]}\n":                          "n.example:3479",
		"public_url: https://[2001:db8::1]\nrelay: {listen: [\"[2001:db8::1]:3478\"]}\n":                       "[2001:db8::1]:3478",
		"relay: {public: t.example, tls_listen: [\"127.0.0.1:5349\"], listen: []}\ntls: {cert: /c, key: /k}\n": "t.example:5349",
		"relay: {listen: []}\n": "",
	} {
		c, err := load(write(t, text), keep)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := c.relayAddress(); got != want {
			t.Errorf("%q: the relay is at %q, want %q", text, got, want)
		}
	}
	c, err := load(write(t, "media: {addresses: [\"2001:db8::1\", 192.0.2.1]}\n"), keep)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.relayedAddress().String(); got != "192.0.2.1" {
		t.Errorf("allocations are at %s, want the IPv4 address", got)
	}
}

func TestBadConfigurationsSayWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct{ text, says string }{
		"misspelt":           {"sessions:\n  maxx: 3\n", `noded.yaml:2: unknown field "maxx" in sessions; did you mean "max"?`},
		"open without TLS":   {"listen: 0.0.0.0:8443\npublic_url: http://n.example\n", "set tls.cert and tls.key"},
		"open without name":  {"listen: 0.0.0.0:8443\ntls: {cert: /c, key: /k}\n", "public_url: must be set"},
		"listen name":        {"listen: localhost:8443\n", "want an IP address"},
		"no port":            {"listen: 127.0.0.1\n", "want address:port"},
		"half TLS":           {"tls: {cert: /c.pem}\n", "both be set"},
		"URL with path":      {"public_url: http://n.example/x\n", "scheme, host and port alone"},
		"portal URL":         {"portal_url: portal\n", "portal_url"},
		"relative state":     {"state_dir: var\n", "state_dir"},
		"long run dir":       {"run_dir: /" + strings.Repeat("r", 90) + "\n", "would not fit a socket's address"},
		"wildcard media":     {"media: {addresses: [0.0.0.0]}\n", "media.addresses"},
		"no media":           {"media: {addresses: []}\n", "media.addresses"},
		"ports":              {"media: {ports: 9-3}\n", `ports "9-3": want first-last`},
		"too few ports":      {"media: {ports: 50000-50001}\n", "fewer than sessions.max"},
		"relay everywhere":   {"relay: {listen: [\"0.0.0.0:3478\"]}\n", "answers must come from the address that was asked"},
		"relay name":         {"relay: {listen: [\"localhost:3478\"]}\n", "relay.listen"},
		"relay without TLS":  {"relay: {tls_listen: [\"127.0.0.1:5349\"]}\n", "needs tls.cert"},
		"relay public":       {"relay: {public: \"n.example:3478\"}\n", "relay.public"},
		"relay ports":        {"relay: {ports: 50900-52999}\n", "overlaps with media.ports"},
		"relay allocations":  {"relay: {allocations: 5000}\n", "relay.allocations"},
		"relay of a session": {"relay: {session_allocations: 0}\n", "relay.session_allocations"},
		"relay bandwidth":    {"relay: {bandwidth: 1KiB}\n", "relay.bandwidth"},
		"size":               {"sessions: {memory: lots}\n", `size "lots"`},
		"little memory":      {"sessions: {memory: 1MiB}\n", "at least 256MiB"},
		"uid base":           {"sessions: {uid_base: 1000}\n", "sessions.uid_base"},
		"clipboard":          {"sessions: {clipboard: open}\n", "sessions.clipboard"},
		"fewer guests":       {"sessions: {guests: -1}\n", "sessions.guests"},
		"a crowd":            {"sessions: {guests: 65}\n", "sessions.guests"},
		"audio":              {"sessions: {audio: loud}\n", "sessions.audio"},
		"no clipboard":       {"sessions: {clipboard: ''}\n", "sessions.clipboard"},
		"grace":              {"sessions: {grace: 0s}\n", "sessions.grace"},
		"name":               {"name: a b\n", "name: "},
		"log":                {"log: {level: loud}\n", "use debug, info, warn or error"},
		"cgroup":             {"cgroup: /../x\n", "cgroup"},
		"plain API":          {"api: {url: \"http://10.0.0.1:8445\"}\n", "api.url"},
		"API without a name": {"api: {listen: \"0.0.0.0:8445\"}\n", "api.url: must be set"},
		"API listen":         {"api: {listen: x}\n", "api.listen"},
		"no image":           {"image: \"\"\n", "image: must name"},
		"namespace":          {"containerd: {namespace: \"\"}\n", "containerd.namespace"},
		"slow disk":          {"sessions: {disk_write: 1KiB}\n", "sessions.disk_write"},
		"files":              {"sessions: {files: sideways}\n", "want both, in, out or off"},
		"upload size":        {"sessions: {upload_size: 1KiB}\n", "sessions.upload_size"},
		"negative processes": {"sessions: {pids: -1}\n", "sessions.pids"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(write(t, tc.text), keep); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Fatalf("error %v, want it to say %q", err, tc.says)
			}
		})
	}
	if _, err := load("/nonexistent/noded.yaml", keep); err == nil {
		t.Fatal("a file that is not there was read")
	}
}

func TestWaysThatFilesMayCross(t *testing.T) {
	for word, want := range map[string]Crossing{"both": {In: true, Out: true}, "in": {In: true}, "out": {Out: true}, "off": {}} {
		cfg, err := load(write(t, "sessions: {files: "+word+", upload_size: 2GiB}\n"), keep)
		if err != nil || cfg.Sessions.Files != want || cfg.Sessions.Files.String() != word {
			t.Errorf("%s: %+v, %v", word, cfg.Sessions.Files, err)
		}
		if f := cfg.files(); f.In != want.In || f.Out != want.Out || f.Most != 2<<30 {
			t.Errorf("%s: the gateway is told %+v", word, f)
		}
	}
}

// TestEveryFieldIsAFlag: what the file sets, a flag sets too.
func TestEveryFieldIsAFlag(t *testing.T) {
	c := newCommand("run", true)
	values := map[string]string{"listen": "127.0.0.1:9", "sessions.memory": "1GiB", "media.ports": "5-900", "sessions.max": "2", "sessions.grace": "9s", "cluster.join": "127.0.0.1:1, 127.0.0.1:2", "api.listen": "127.0.0.1:7", "sessions.cpus": "1.5", "sessions.uid_base": "100000", "sessions.pids": "99", "sessions.pin": "true", "sessions.clipboard": "off", "sessions.audio": "off", "sessions.guests": "3", "sessions.files": "out"}
	args := []string{"--config", write(t, "sessions: {max: 5}\n")}
	for path, value := range values {
		args = append(args, "--"+flagName(path)+"="+value)
	}
	if _, err := c.arguments(args, 0, 0, "no arguments"); err != nil {
		t.Fatal(err)
	}
	cfg, err := c.load()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:9" || cfg.Sessions.Memory != 1<<30 || cfg.Media.Ports != (PortRange{5, 900}) || cfg.Sessions.Max != 2 || cfg.Sessions.Grace != 9*time.Second || len(cfg.Cluster.Join) != 2 || cfg.Sessions.CPUs != 1.5 || cfg.Sessions.UIDBase != 100000 || cfg.Sessions.PIDs != 99 || !cfg.Sessions.Pin || cfg.policy().TakesIn() || cfg.policy().HasSound() || cfg.Sessions.Files != (Crossing{Out: true}) || cfg.API.URL != "https://127.0.0.1:7" {
		t.Fatalf("%+v", cfg)
	}
	d := defaults()
	err = eachField(reflect.ValueOf(&d).Elem(), "", func(path string, _ reflect.Value) error {
		if c.Lookup(flagName(path)) == nil {
			t.Errorf("%s has no flag", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBytesRoundTrip(t *testing.T) {
	for text, want := range map[string]Bytes{"1GiB": 1 << 30, "512MiB": 512 << 20, "1.5KiB": 1536, "77": 77, "2 TiB": 2 << 40, "0": 0} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want {
			t.Errorf("%s: %d, %v", text, b, err)
		}
		var again Bytes
		if err := again.UnmarshalText([]byte(b.String())); err != nil || again != b {
			t.Errorf("%s became %s and then %d", text, b, again)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1GB", "NaN", "1e30TiB", "0x10"} {
		var b Bytes
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: accepted as %d", text, b)
		}
	}
}

func FuzzConfig(f *testing.F) {
	for _, seed := range []string{"listen: 127.0.0.1:1\n", "sessions: {memory: 2GiB, grace: 1m}\n", "media: {ports: 1-2}\n", "tls:\n  cert: a\n", "cluster: {join: [a, b]}\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(_ *testing.T, text string) {
		c := defaults()
		if strictyaml.Decode(strings.NewReader(text), "noded.yaml", &c) == nil {
			_ = c.validate()
		}
	})
}

// TestSampleIsReadAndComplete: an operator finds every field in the sample that the package installs.
func TestSampleIsReadAndComplete(t *testing.T) {
	sample := filepath.Join("..", "..", "..", "packaging", "noded.yaml")
	if _, err := load(sample, keep); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	d := defaults()
	err = eachField(reflect.ValueOf(&d).Elem(), "", func(path string, _ reflect.Value) error {
		key := path[strings.LastIndex(path, ".")+1:] + ":"
		if !strings.Contains(string(text), key) {
			t.Errorf("the sample does not show %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
