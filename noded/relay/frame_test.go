package relay

import (
	"bytes"
	"testing"

	"github.com/pion/stun/v3"

	"easel/pkg/mmsg"
)

func TestChannelData(t *testing.T) {
	for name, c := range map[string]struct {
		packet []byte
		number uint16
		data   string
		ok     bool
	}{
		"whole":     {[]byte{0x40, 1, 0, 2, 'h', 'i'}, 0x4001, "hi", true},
		"padded":    {[]byte{0x40, 1, 0, 2, 'h', 'i', 0, 0}, 0x4001, "hi", true},
		"empty":     {[]byte{0x7f, 0xff, 0, 0}, 0x7fff, "", true},
		"cut off":   {[]byte{0x40, 1, 0, 3, 'h', 'i'}, 0, "", false},
		"no length": {[]byte{0x40, 1, 0}, 0, "", false},
		"STUN":      {make([]byte, 20), 0, "", false},
		"reserved":  {[]byte{0x80, 0, 0, 0}, 0, "", false},
	} {
		number, data, ok := channelData(c.packet)
		if number != c.number || string(data) != c.data || ok != c.ok {
			t.Errorf("%s: %#x, %q, %v", name, number, data, ok)
		}
	}
}

func FuzzFrame(f *testing.F) {
	bind, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodChannelBind, stun.ClassRequest), &stun.XORMappedAddress{IP: []byte{127, 0, 0, 1}, Port: 1}, stun.Fingerprint)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{bind.Raw, {0x40, 1, 0, 2, 'h', 'i', 0, 0}, {0x40, 1, 0xff, 0xfc, 0}, {0xff}, nil, append(bytes.Clone(bind.Raw), 0x40, 1, 0, 0)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		if number, data, ok := channelData(p); ok {
			again := append(make([]byte, channelHeader), data...)
			putChannelHeader(again, number)
			if !bytes.Equal(again, p[:channelHeader+len(data)]) {
				t.Errorf("%x became %x", p, again)
			}
			if isSTUN(p) {
				t.Errorf("%x is both", p)
			}
		}
		if bound, ok := boundPeer(p); ok && bound.Addr().Is4In6() {
			t.Errorf("%v is mapped: it would be compared with one that is not", bound)
		}
		rest := p
		for steps := 0; ; steps++ {
			n, err := frameLength(rest)
			if err != nil || n == 0 || n > len(rest) {
				break
			}
			if n < channelHeader || n > mmsg.MaxPacket {
				t.Fatalf("a frame of %d bytes", n)
			}
			rest = rest[n:]
			if steps > len(p) {
				t.Fatal("it does not end")
			}
		}
		if !bytes.Equal(before, p) {
			t.Error("reading changed it")
		}
	})
}

func FuzzUsername(f *testing.F) {
	for _, seed := range []string{"1790000000:" + mine, "x:" + mine, "-1:" + mine, "1790000000:", ":", "", "9999999999999999999:" + mine} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if id, until, ok := parseUsername(name); ok && username(id, until) != name {
			t.Errorf("%q means the same as %q", name, username(id, until))
		}
	})
}
