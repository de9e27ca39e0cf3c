#!/usr/bin/env bash
# Builds easel-node and easel-coordinator as Debian packages into out/, from what `make build containerd tools` built.
set -euo pipefail
cd "$(dirname "$0")/.."

: "${VERSION:?run this as: make packages}"
# Debian versions have no "v", a hyphen would begin a Debian revision, and ~ sorts before the release itself.
VERSION=${VERSION#v}
VERSION=${VERSION/-dev/\~dev}
export VERSION=${VERSION//-/+}
ARCH=$(go env GOARCH)
export ARCH
# The same time stamp in every file, so that the same tree gives the same package.
SOURCE_DATE_EPOCH=$(git -c safe.directory='*' log -1 --format=%ct 2>/dev/null || echo 1700000000)
export SOURCE_DATE_EPOCH

stage=out/stage
rm -rf "$stage"
mkdir -p "$stage"
cp bin/noded bin/streamer bin/sessionlog bin/easel-init bin/coordinator "$stage"/
packaging/containerd/build.sh "$stage" >/dev/null

# libraries FILE… prints the Debian packages of the shared libraries that the files name, one a line, libc with its least version. libavcodec is loaded
# at run time, so it stands in the streamer as text.
libraries() {
  local lib path
  { objdump -p "$@" | awk '$1 == "NEEDED" { print $2 }'; grep -ahoE 'libavcodec\.so\.[0-9]+' "$stage/streamer"; } | sort -u | while read -r lib; do
    path=$(ldconfig -p | awk -v lib="$lib" '$1 == lib { print $NF; exit }')
    [[ $path ]] || { echo "packages: no library $lib on this machine, which $* needs" >&2; exit 1; }
    # Debian's dpkg may know a library by its path with or without /usr.
    dpkg-query -S "$path" 2>/dev/null || dpkg-query -S "${path#/usr}" 2>/dev/null || dpkg-query -S "/usr$path"
  done | cut -d: -f1 | sort -u | while read -r package; do
    if [[ $package == libc6 ]]; then
      package="libc6 (>= $(objdump -T "$@" | grep -oE 'GLIBC_[0-9.]+' | cut -d_ -f2 | sort -uV | tail -n1))"
    fi
    echo "$package"
  done
}

needed=$(libraries "$stage"/noded "$stage"/streamer "$stage"/runc)
[[ $needed ]] || { echo "packages: the built binaries name no shared library, which cannot be" >&2; exit 1; }

rm -f out/easel-*.deb
for name in node coordinator; do
  config="$stage/nfpm-$name.yaml"
  while IFS= read -r line; do
    if [[ $line == *'# @LIBRARIES@' ]]; then
      while read -r package; do printf '  - "%s"\n' "$package"; done <<<"$needed"
    else
      printf '%s\n' "$line"
    fi
  done <"packaging/nfpm-$name.yaml" >"$config"
  bin/tools/nfpm package --config "$config" --packager deb --target out/ | grep -v '^using ' || true
done
rm -rf "$stage"
ls -1 out/easel-node_*.deb out/easel-coordinator_*.deb
