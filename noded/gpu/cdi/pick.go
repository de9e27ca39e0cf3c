package cdi

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	specs "tags.cncf.io/container-device-interface/specs-go"
)

// What of a driver a session gets. It computes (OpenCL, CUDA), and does not draw on a screen: no /dev/dri, no nvidia-modeset, no sockets of
// daemons.
var (
	cardPattern    = regexp.MustCompile(`^/dev/nvidia[0-9]+$`)
	nodePattern    = regexp.MustCompile(`^/dev/(nvidia[0-9]+|nvidiactl|nvidia-uvm|nvidia-uvm-tools)$`)
	capPattern     = regexp.MustCompile(`^/dev/nvidia-caps/nvidia-cap[0-9]+$`)
	libraryPattern = regexp.MustCompile(`^/[^:]*/lib[A-Za-z0-9_+.-]+\.so(\.[0-9]+)*$`)
)

// vendorFile tells OpenCL's loader of NVIDIA's implementation.
const vendorFile = "/etc/OpenCL/vendors/nvidia.icd"

// loaderDirs is where the loader in the session's image looks for libraries without being told.
var loaderDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib", "/usr/lib", "/lib64", "/usr/lib64"}

// pick takes what a session needs of what there is.
func (m *Maker) pick(found *specs.ContainerEdits) (specs.ContainerEdits, error) {
	var picked specs.ContainerEdits
	for _, d := range found.DeviceNodes {
		if !nodePattern.MatchString(d.Path) && !capPattern.MatchString(d.Path) {
			continue
		}
		node, err := node(d)
		if err != nil {
			return picked, err
		}
		if !slices.ContainsFunc(picked.DeviceNodes, func(o *specs.DeviceNode) bool { return o.Path == node.Path }) {
			picked.DeviceNodes = append(picked.DeviceNodes, node)
		}
	}
	if !slices.ContainsFunc(picked.DeviceNodes, func(d *specs.DeviceNode) bool { return cardPattern.MatchString(d.Path) }) {
		return picked, fmt.Errorf("its card has no device node below %s: is the driver's kernel module loaded? \"nvidia-modprobe -c 0 -u\" makes the first card's", m.root)
	}
	var dirs []string
	for _, f := range found.Mounts {
		switch {
		case f.ContainerPath == vendorFile:
			picked.Mounts = append(picked.Mounts, readOnly(f.HostPath, f.ContainerPath))
		case libraryPattern.MatchString(f.ContainerPath) && !strings.Contains(f.ContainerPath, "/xorg/"):
			picked.Mounts = append(picked.Mounts, m.library(f)...)
			if dir := path.Dir(f.ContainerPath); !slices.Contains(loaderDirs, dir) && !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	if len(dirs) > 0 {
		picked.Env = append(picked.Env, "LD_LIBRARY_PATH="+strings.Join(dirs, ":"))
	}
	picked.Mounts = onePerPlace(picked.Mounts)
	return picked, nil
}

// node is a device that can be used from a user namespace: there it belongs to nobody whom the container knows, so what others may do is
// what it may do.
func node(d *specs.DeviceNode) (*specs.DeviceNode, error) {
	at := d.HostPath
	if at == "" {
		at = d.Path
	}
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil {
		return nil, fmt.Errorf("look at the device %s: %w", at, err)
	}
	want := uint32(0o006)
	if capPattern.MatchString(d.Path) {
		want = 0o004 // who may read it may use the MIG device
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFCHR:
		return nil, fmt.Errorf("%s is no device", at)
	case st.Mode&want != want:
		return nil, fmt.Errorf("the device %s has mode %04o, and containers have it as others: load the kernel module with NVreg_DeviceFileMode=0666", at, st.Mode&0o777)
	}
	return &specs.DeviceNode{
		Path: d.Path, HostPath: at, Type: "c", Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), Permissions: "rw",
	}, nil
}

// library is a file of the driver, and the same by the name under which others are linked to it: no ldconfig runs in the container.
func (m *Maker) library(f *specs.Mount) []*specs.Mount {
	mounts := []*specs.Mount{readOnly(f.HostPath, f.ContainerPath)}
	name, err := soname(f.HostPath)
	if err != nil {
		m.log.Warn("a file of the NVIDIA driver is no library that can be linked to", "file", f.HostPath, "error", err)
		return mounts
	}
	if name != "" && name != path.Base(f.ContainerPath) {
		mounts = append(mounts, readOnly(f.HostPath, path.Join(path.Dir(f.ContainerPath), name)))
	}
	return mounts
}

// soname is the name under which other programs are linked to a library; "" when it has none.
func soname(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New("it is no regular file")
	}
	f, err := elf.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil || len(names) == 0 {
		return "", err
	}
	if strings.ContainsRune(names[0], '/') {
		return "", fmt.Errorf("it is named %q", names[0])
	}
	return names[0], nil
}

func readOnly(host, container string) *specs.Mount {
	return &specs.Mount{HostPath: host, ContainerPath: container, Type: "bind", Options: []string{"bind", "ro", "nosuid", "nodev", "private"}}
}

// onePerPlace keeps the first of several mounts at a place.
func onePerPlace(mounts []*specs.Mount) (kept []*specs.Mount) {
	seen := map[string]bool{}
	for _, m := range mounts {
		if !seen[m.ContainerPath] {
			seen[m.ContainerPath] = true
			kept = append(kept, m)
		}
	}
	return kept
}
