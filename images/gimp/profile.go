package gimp

import (
	"context"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

//go:embed bake.sh
var bakeScript string

//go:embed profile
var profileFiles embed.FS

// ArtistUID is the user and group that everything in a session runs as.
const ArtistUID = 1000

const (
	profileInHome  = "home/artist/.config/GIMP/3.0"
	profileInImage = "usr/share/easel/profile"
	fontCache      = "var/cache/fontconfig"
)

// Environment is what every process of a session finds in its environment. The profile is baked under the same one: GIMP
// asks its plug-ins anew when the language differs.
func Environment() []string {
	return []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/home/artist", "USER=artist", "LOGNAME=artist", "SHELL=/bin/sh", "LANG=en_US.UTF-8",
		"NO_AT_BRIDGE=1", // no accessibility bus: its start costs a second of GIMP's
	}
}

// keepInProfile leaves out what belongs to the baking and not to the artist.
func keepInProfile(name string) bool {
	switch strings.TrimPrefix(name, profileInImage+"/") {
	case "tmp", "backups", "CrashLog", "themerc":
		return false
	case "tags.xml": // GIMP 3.0 writes other checksums into it each time
		return false
	}
	return !strings.HasSuffix(name, "~")
}

// bake starts GIMP in root with our preferences.
func (b *builder) bake(ctx context.Context, root string, seed []embedded) error {
	passwd, err := rootfsFiles.ReadFile("rootfs/etc/passwd")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"), passwd, 0o644); err != nil {
		return fmt.Errorf("bake profile: %w", err)
	}
	for dir := filepath.Join(root, profileInHome); ; dir = filepath.Dir(dir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("bake profile: %w", err)
		}
		if err := os.Chown(dir, ArtistUID, ArtistUID); err != nil {
			return fmt.Errorf("bake profile: %w", err)
		}
		if filepath.Base(dir) == "artist" {
			break
		}
	}
	for _, f := range seed {
		file := filepath.Join(root, profileInHome, f.Name)
		if err := os.WriteFile(file, f.Text, 0o644); err != nil {
			return fmt.Errorf("bake profile: %w", err)
		}
		if err := os.Chown(file, ArtistUID, ArtistUID); err != nil {
			return fmt.Errorf("bake profile: %w", err)
		}
	}
	args := append([]string{"-c", bakeScript, "bake", root, strconv.Itoa(ArtistUID)}, Environment()...)
	cmd := b.command(ctx, "/bin/sh", args...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.recipe.Epoch))
	// Its mounts, processes and network are its own and end with it.
	cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWNET
	cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
	if err := b.runNoted(cmd, "profile", func(line string) (string, bool) { return strings.CutPrefix(line, "note: ") }); err != nil {
		return fmt.Errorf("bake GIMP's profile: %w", err)
	}
	return nil
}

func quiet(string) (string, bool) { return "", false }
