package runtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// withDevices brings the container's CDI devices into it, from specifications of this node alone. It is the last of the options: nothing
// may reset afterwards what it adds.
//
// Where a container has a user namespace, runc cannot make device nodes and binds those of the host instead, taking the node's place in the
// container for its place on the host. A driver's nodes may lie elsewhere, so they are bound here, as mounts.
func withDevices(c Container) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if len(c.Devices) == 0 {
			return nil
		}
		cache, err := cdi.NewCache(cdi.WithSpecDirs(c.DeviceDir), cdi.WithAutoRefresh(false))
		if err != nil {
			return fmt.Errorf("reading the device specifications in %s: %w", c.DeviceDir, err)
		}
		nodes, err := hostNodes(cache, c.Devices)
		if err != nil {
			return err
		}
		own := map[string]string{}
		for _, m := range s.Mounts {
			own[m.Destination] = m.Source
		}
		if _, err := cache.InjectDevices(s, c.Devices...); err != nil {
			return fmt.Errorf("bringing devices %v into the container: %w", c.Devices, err)
		}
		if s.Hooks != nil {
			return fmt.Errorf("devices %v would run programs of the host (hooks)", c.Devices)
		}
		for i, m := range s.Mounts {
			source, ours := own[m.Destination]
			switch {
			case ours && source != m.Source:
				return fmt.Errorf("devices %v would take the place of the container's own mount at %s", c.Devices, m.Destination)
			case !ours: // not every file system can map owners, and who may read the driver's files is everybody
				s.Mounts[i].Options = slices.DeleteFunc(slices.Clone(m.Options), func(o string) bool { return o == "idmap" })
			}
		}
		s.Linux.Devices = slices.DeleteFunc(s.Linux.Devices, func(d specs.LinuxDevice) bool {
			at, ours := nodes[d.Path]
			if ours {
				s.Mounts = append(s.Mounts, specs.Mount{
					Destination: d.Path, Type: "bind", Source: at, Options: []string{"bind", "private", "nosuid", "noexec"},
				})
			}
			return ours
		})
		return nil
	}
}

// hostNodes is where the devices' nodes lie on the host, by their places in the container.
func hostNodes(cache *cdi.Cache, devices []string) (map[string]string, error) {
	nodes := map[string]string{}
	for _, name := range devices {
		d := cache.GetDevice(name)
		if d == nil {
			return nil, fmt.Errorf("device %s has no specification in %v", name, cache.GetSpecDirectories())
		}
		for _, edits := range []*cdi.ContainerEdits{{ContainerEdits: &d.Device.ContainerEdits}, {ContainerEdits: &d.GetSpec().ContainerEdits}} {
			for _, n := range edits.DeviceNodes {
				at := n.HostPath
				if at == "" {
					at = n.Path
				}
				nodes[n.Path] = at
			}
		}
	}
	return nodes, nil
}
