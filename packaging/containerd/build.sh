#!/usr/bin/env bash
# Builds the pinned containerd, its runc shim and runc, once for each content of this folder.
#
#   build.sh [DIR]   copies the three binaries into DIR too
#
# They lie in $EASEL_CACHE/containerd/HASH/bin (default /var/cache/easel); that path is the only line on stdout.
# Debian 12's own containerd (1.6) has no idmapped mounts: a container with a user namespace would cost a chown of its
# whole root each time.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${EASEL_CACHE:-/var/cache/easel}
export PATH=$PATH:/usr/local/go/bin

fail() { echo "containerd: $*" >&2; exit 1; }
command -v go >/dev/null || fail "building needs Go, which is not in PATH: install it, or put it in /usr/local/go"
pkg-config --exists libseccomp || fail "building runc needs libseccomp's headers: install the packages libseccomp-dev and pkg-config"

hash=$( (cd "$here" && cat go.mod go.sum build.sh && go env GOVERSION GOARCH) | sha256sum | cut -c1-16)
bin=$cache/containerd/$hash/bin

build() {
	local tmp
	mkdir -p "$cache/containerd/$hash"
	exec 9>"$cache/containerd/$hash/lock"
	flock -w 1800 9 || fail "another build has held $cache/containerd/$hash/lock for half an hour: end it, then try again"
	[[ -d $bin ]] && return
	tmp=$(mktemp -d "$cache/containerd/$hash/build.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	cd "$here"
	version=$(go list -m -f '{{.Version}}' github.com/containerd/containerd/v2)
	stamp="-X github.com/containerd/containerd/v2/version.Version=$version"
	echo "containerd: building $version (some minutes, once)" >&2
	# No CRI and no snapshotters but overlayfs: easel speaks to containerd by its own API alone.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$tmp/" -ldflags "-s -w $stamp" \
		-tags "urfave_cli_no_docs no_cri no_btrfs no_devmapper no_zfs" \
		github.com/containerd/containerd/v2/cmd/containerd >&2
	echo "containerd: building its shim" >&2
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$tmp/" -ldflags "-s -w $stamp" -tags "urfave_cli_no_docs no_grpc" \
		github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2 >&2
	echo "containerd: building runc" >&2
	CGO_ENABLED=1 go build -trimpath -buildvcs=false -o "$tmp/" -ldflags "-s -w" -tags "urfave_cli_no_docs seccomp" \
		github.com/opencontainers/runc >&2
	chmod 0755 "$tmp" && mv -T "$tmp" "$bin"
	trap - EXIT
}

[[ -d $bin ]] || (build)
if [[ $# -gt 0 ]]; then
	mkdir -p "$1"
	install -m 0755 "$bin"/containerd "$bin"/containerd-shim-runc-v2 "$bin"/runc "$1"/
fi
echo "$bin"
