package files

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"easel/pkg/homefiles"
)

// openTime is how long GIMP may take to take up a file: it is asked by D-Bus, and reads the file after it has answered.
const openTime = 8 * time.Second

// opens are the kinds of files that are opened when they come: images, by the extension, as GIMP's own file dialog has them. All others,
// brushes and archives among them, only come into the home.
var opens = strings.Fields("xcf xcfgz xcfbz2 xcfxz psd psb png apng jpg jpeg jpe jfif jxl jp2 j2k webp gif tif tiff bmp dib ico cur ani tga " +
	"pcx pnm ppm pgm pbm pam pfm ora svg svgz heic heif avif exr hdr dds qoi fits fit sgi rgb rgba xpm xbm ras wbmp wmf pdf ps eps dcm dicom fli flc icns psp tub iff ilbm")

// opened tells whether GIMP is asked to open a file of that name.
func opened(name string) bool {
	name = strings.ToLower(name)
	for _, packed := range []string{".gz", ".bz2", ".xz"} {
		if rest, ok := strings.CutSuffix(name, ".xcf"+packed); ok && rest != "" {
			return true
		}
	}
	ext := strings.TrimPrefix(filepath.Ext(name), ".")
	for _, e := range opens {
		if e == ext {
			return true
		}
	}
	return false
}

// gimp is the running GIMP. It is asked by its own D-Bus service and never started: that is easel-init's.
type gimp struct {
	home string
	// send is dbus-send; a test has another.
	send string
}

// open has the running GIMP open a file of the home.
func (g gimp) open(ctx context.Context, path homefiles.Path) error {
	if !opened(path.Name()) {
		return errors.New("it is no image that GIMP opens; it lies in your home")
	}
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	at := url.URL{Scheme: "file", Path: filepath.Join(g.home, string(path))}
	cmd := exec.CommandContext(ctx, g.send, "--session", "--type=method_call", "--print-reply", "--reply-timeout=5000",
		"--dest=org.gimp.GIMP.UI", "/org/gimp/GIMP/UI", "org.gimp.GIMP.UI.Open", "string:"+at.String())
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	switch {
	case err == nil && strings.Contains(string(said), "boolean true"):
		return nil
	case strings.Contains(string(said), "ServiceUnknown"):
		return errors.New("GIMP is not up at the moment: open it there, from your home")
	case err == nil:
		return errors.New("GIMP refused it")
	}
	return fmt.Errorf("GIMP does not answer (%w): open it there, from your home", err)
}
