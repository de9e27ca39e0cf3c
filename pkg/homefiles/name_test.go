package homefiles

import (
	"errors"
	"mime"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNamesOfAnyScriptStay(t *testing.T) {
	for _, name := range []string{"猫の絵.png", "рисунок.xcf", "لوحة.png", "ภาพวาด.webp", "e\u0301te\u0301.jpg", "👩‍🎨.png", "a b (1)%20&'.png", strings.Repeat("x", 251) + ".png"} {
		got, err := NewName(name)
		if err != nil || got != name {
			t.Errorf("%q became %q, %v", name, got, err)
		}
	}
}

func TestHostileNames(t *testing.T) {
	for name, want := range map[string]string{
		"../../etc/passwd": "", "/etc/passwd": "", "a\x00.png": "", "": "", ".": "", "..": "", " . ": "", "...": "",
		".bashrc": "bashrc", "a\nb.png": "a_b.png", "photo\u202Egnp.exe": "photo_gnp.exe", "\x1b[2J.png": "_[2J.png", "a\xffb.png": "a\uFFFDb.png",
		strings.Repeat("絵", 200) + ".png": strings.Repeat("絵", 83) + ".png",
	} {
		got, err := NewName(name)
		if got != want || (want == "") != errors.Is(err, ErrName) {
			t.Errorf("%q became %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestAnotherNameStaysWithinBounds(t *testing.T) {
	for name, want := range map[string]string{
		"cat.png": "cat (2).png", "cat": "cat (2)", strings.Repeat("x", 251) + ".png": strings.Repeat("x", 247) + " (2).png",
		"a." + strings.Repeat("y", 200): "a." + strings.Repeat("y", 200) + " (2)",
	} {
		if got := Fit(name, " (2)"); got != want || len(got) > MaxName {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}

func TestExtensionIsAShortWord(t *testing.T) {
	for name, want := range map[string]string{"a.PNG": "png", "a": "", "a.tar.gz": "gz", "a.my secret": "", "a.猫": "", "a.averylongone": ""} {
		if got := Extension(name); got != want {
			t.Errorf("%q has %q, want %q", name, got, want)
		}
	}
}

func FuzzNewName(f *testing.F) {
	for _, s := range []string{"cat.png", "../x", ".a", "a\u202eb", "\xff\xfe", strings.Repeat("絵.", 200), " \u00a0.", "a/b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := NewName(s)
		if err != nil {
			return
		}
		if !Visible(name) || !utf8.ValidString(name) || !filepath.IsLocal(name) || name != filepath.Base(name) || name != Readable(name) {
			t.Fatalf("%q became %q", s, name)
		}
		if next := Fit(name, " (2)"); !Visible(next) || !utf8.ValidString(next) {
			t.Fatalf("%q became %q", name, next)
		}
	})
}

func FuzzDisposition(f *testing.F) {
	for _, s := range []string{"cat.png", `a"b\c;.png`, "猫.png", "a\r\nX-Evil: 1", "%41.png", "\xff", "a'b*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		header := Disposition(s)
		for _, b := range []byte(header) {
			if b < ' ' || b > '~' {
				t.Fatalf("%q has %q in it", header, b)
			}
		}
		if s == "" {
			return
		}
		kind, params, err := mime.ParseMediaType(header)
		if err != nil || kind != "attachment" || params["filename"] != Readable(s) {
			t.Fatalf("%q reads as %q, %q, %v", header, kind, params, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, p := range []string{"cat.png", "a/b/c", "../x", "/etc/passwd", "a//b", "a/./b", "a\x00b", ".config/x", "\xff/\xfe", strings.Repeat("a/", 40)} {
		f.Add(Path(p).ID())
	}
	f.Add("a\nb")
	f.Add("YQ==")
	f.Fuzz(func(t *testing.T, id string) {
		p, err := ParseID(id)
		if err != nil {
			return
		}
		if p.ID() != id {
			t.Fatalf("%q is %q, whose ID is %q: two addresses for one file", id, p, p.ID())
		}
		if p != "" && (!filepath.IsLocal(string(p)) || filepath.Clean(string(p)) != string(p) || strings.Contains("/"+string(p), "/.") || strings.ContainsRune(string(p), 0)) {
			t.Fatalf("%q is let through", p)
		}
	})
}

func TestPathsThatLeadOutOrHide(t *testing.T) {
	for _, p := range []Path{"..", "../x", "a/../../b", "/etc/passwd", "a//b", "./a", "a/.", ".config/x", "a/.hidden", "a\x00b", Path(strings.Repeat("x", 256)), Path(strings.Repeat("a/", 40) + "b"), Path(strings.Repeat(strings.Repeat("x", 250)+"/", 17) + "x")} {
		if _, err := ParseID(p.ID()); !errors.Is(err, ErrPath) {
			t.Errorf("%.60q: %v", p, err)
		}
	}
	for _, p := range []Path{"", "cat.png", "a/b", "\xff\xfe", "a\nb", Path(strings.Repeat("x", 255))} {
		if got, err := ParseID(p.ID()); err != nil || got != p {
			t.Errorf("%q: %q, %v", p, got, err)
		}
	}
	if Path("a/b").Name() != "b" || Path("").Join("a").Join("b") != "a/b" {
		t.Error("a path is not joined as it should be")
	}
}
