package main

import (
	"os"
	"strings"
	"testing"
)

func TestFirstScreenSizeComesFromTheEnvironment(t *testing.T) {
	for value, want := range map[string]int{"": 1920, "320": 320, "8192": 8192} {
		if got, err := side("EASEL_WIDTH", value, usualWidth); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", value, got, err, want)
		}
	}
	for _, value := range []string{"0", "-5", "8193", "1920x", " 1920", "1e3"} {
		if got, err := side("EASEL_WIDTH", value, usualWidth); err == nil || !strings.Contains(err.Error(), "EASEL_WIDTH") {
			t.Errorf("%q: %d, %v; want an error that names it", value, got, err)
		}
	}
}

func TestImagesConfigurationTakesEveryScreenSize(t *testing.T) {
	template, err := os.ReadFile("../rootfs/etc/easel/xorg.conf")
	if err != nil {
		t.Fatal(err)
	}
	got, err := xorgConfig(string(template), 1920, 1080)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`Modeline "1920x1080" 142.46 1920 1960 2020 2120 1080 1083 1088 1120`, `Modes "1920x1080"`} {
		if !strings.Contains(got, line) {
			t.Errorf("no line %q", line)
		}
	}
	if strings.Contains(got, "@") {
		t.Error("a mark is left")
	}
	big, err := xorgConfig(string(template), maxSide, maxSide)
	if err != nil || !strings.Contains(big, `"8192x8192" 300.00`) {
		t.Errorf("the clock of a big screen is more than the driver takes (%v)", err)
	}
	if _, err := xorgConfig("Section", 1920, 1080); err == nil {
		t.Error("a template without marks was taken")
	}
}

func TestServicesDoNotSeeInitsOwnSettings(t *testing.T) {
	env := strings.Join(environment([]string{"HOME=/home/artist", "EASEL_WIDTH=800", "LANG=en_US.UTF-8"}, containerPaths("/home/artist")), "\n")
	if strings.Contains(env, "EASEL_") || !strings.Contains(env, "LANG=en_US.UTF-8") || !strings.Contains(env, "DISPLAY=:0\n") {
		t.Errorf("environment:\n%s", env)
	}
}
